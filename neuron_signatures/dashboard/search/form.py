"""The text box, the way to search and the filters of the Search view."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.search.names import KINDS, Kind
from neuron_signatures.views.search_run.asked import LONGEST, WAYS, Asked, Way

_WAYS: dict[Way, str] = {
    "words": "By words", "meaning": "By meaning", "promotes": "Who promotes it", "suppresses": "Who suppresses it",
}  # fmt: skip
_KINDS: dict[Kind, str] = {"explanation": "explanations", "exemplar": "exemplars"}
_TOKEN = '·Austin, or "·Austin" for exactly this token'
_EXAMPLES: dict[Way, str] = {
    "words": '"state capital"   Texas   capital*   L3', "meaning": "names of cities in the south",
    "promotes": _TOKEN, "suppresses": _TOKEN,
}  # fmt: skip
_TOKENS = (
    " ·Austin and Austin with a space in front are the same token; then come tokens that contain the text. In quotes, "
    "only exactly this token."
)
_HELP: dict[Way, str] = {
    "words": 'Texts with every word, then texts with some of them; in any case, with or without accents. "a phrase" in '
    "quotes, capital* for words that begin so; L3, L3N14, L3N14- and set:NAME select rows.",
    "meaning": "Texts whose vectors have the largest cosine with that of the query. The server embeds the query with "
    "the model of the index.",
    "promotes": "Poles that promote the token, from the weights alone." + _TOKENS,
    "suppresses": "Poles that suppress the token, from the weights alone." + _TOKENS,
}
_NUMBERS = (50, 200, 1000)


def form(ctx: PageContext) -> Asked:
    """Draw the form; what is asked with it is part of the selection, and so of the address."""
    asked = ctx.selection.asked
    left, right = st.columns([1.5, 1.6], vertical_alignment="bottom")
    with right:
        st.session_state["search_by"] = asked.way
        st.segmented_control(
            "Search", WAYS, key="search_by", format_func=_WAYS.__getitem__, required=True,
            label_visibility="collapsed",
            on_change=lambda: ctx.search(replace(_now(ctx), way=st.session_state["search_by"])),
        )  # fmt: skip
    with left:
        st.session_state["search_q"] = asked.query
        st.text_input(
            "Search for", key="search_q", max_chars=LONGEST, placeholder=_EXAMPLES[asked.way], help=_HELP[asked.way],
            on_change=lambda: ctx.search(replace(_now(ctx), query=str(st.session_state["search_q"] or ""))),
        )  # fmt: skip
    _filters(ctx, asked)
    return replace(asked, k=int(st.session_state["ui_search_k"]))


def _filters(ctx: PageContext, asked: Asked) -> None:
    with st.container(key="controls_search"):
        kinds, layers, number = st.columns([1.6, 1.6, 0.8], vertical_alignment="bottom")
    st.session_state["search_layers"] = list(asked.layers)
    layers.multiselect(
        "Layers", ctx.run.layers, key="search_layers", placeholder="all",
        on_change=lambda: ctx.search(replace(_now(ctx), layers=tuple(sorted(st.session_state["search_layers"])))),
    )  # fmt: skip
    number.selectbox("At most", _NUMBERS, key="ui_search_k", index=1, help="The number of hits that are listed.")
    if asked.of_tokens:
        return
    st.session_state["search_kinds"] = [] if asked.kinds == KINDS else list(asked.kinds)
    kinds.multiselect(
        "Texts", KINDS, key="search_kinds", format_func=_KINDS.__getitem__, placeholder="explanations and exemplars",
        on_change=lambda: ctx.search(replace(_now(ctx), kinds=_kinds(st.session_state["search_kinds"]))),
    )  # fmt: skip


def _kinds(chosen: list[Kind]) -> tuple[Kind, ...]:
    return tuple(k for k in KINDS if k in chosen) or KINDS


def _now(ctx: PageContext) -> Asked:
    """What is asked now: two inputs may change in one run of the page."""
    return ctx.now.asked
