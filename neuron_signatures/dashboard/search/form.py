"""The text box, the way to search and the filters of the Search view."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from neuron_signatures.dashboard.shell.link import copy_link
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.search.names import KINDS, Kind
from neuron_signatures.views.search_run.asked import LONGEST, SHOWN, WAYS, Asked, Way

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
    "the model of the index. Of a run with explanations, only these are looked in unless exemplars are chosen: the "
    "vector of a window says what the text is about, not why the neuron fires in it.",
    "promotes": "Poles that promote the token, from the weights alone." + _TOKENS,
    "suppresses": "Poles that suppress the token, from the weights alone." + _TOKENS,
}
_NUMBERS = (50, SHOWN, 1000)


def form(ctx: PageContext) -> Asked:
    """Draw the form; what is asked with it is part of the selection, and so of the address."""
    asked = ctx.selection.asked
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.session_state["search_by"] = asked.way
        st.segmented_control(
            "Search", WAYS, key="search_by", format_func=_WAYS.__getitem__, required=True,
            label_visibility="collapsed",
            on_change=lambda: ctx.search(replace(ctx.now.asked, way=st.session_state["search_by"])),
        )  # fmt: skip
        copy_link(ctx)
    with st.container(key="controls_search"):
        columns = st.columns([3.4, 1.3, 0.7] if asked.of_tokens else [2.2, 1.5, 1, 0.7], vertical_alignment="bottom")
    _text(ctx, asked, columns[0])
    if not asked.of_tokens:
        _texts(ctx, asked, columns[1])
    _layers(ctx, asked, columns[-2])
    st.session_state.setdefault("ui_search_k", SHOWN)
    columns[-1].selectbox("At most", _NUMBERS, key="ui_search_k", help="The number of hits that are listed.")
    return replace(asked, k=int(st.session_state["ui_search_k"]))


def _text(ctx: PageContext, asked: Asked, at: DeltaGenerator) -> None:
    st.session_state["search_q"] = asked.query
    at.text_input(
        "Search for", key="search_q", max_chars=LONGEST, placeholder=_EXAMPLES[asked.way], help=_HELP[asked.way],
        on_change=lambda: ctx.search(replace(ctx.now.asked, query=str(st.session_state["search_q"] or ""))),
    )  # fmt: skip


def _texts(ctx: PageContext, asked: Asked, at: DeltaGenerator) -> None:
    st.session_state["search_kinds"] = [] if asked.kinds == KINDS else list(asked.kinds)
    usual = "explanations, if any" if asked.way == "meaning" else "all texts"
    at.multiselect(
        "In", KINDS, key="search_kinds", format_func=_KINDS.__getitem__, placeholder=usual,
        on_change=lambda: ctx.search(replace(ctx.now.asked, kinds=_kinds(st.session_state["search_kinds"]))),
    )  # fmt: skip


def _layers(ctx: PageContext, asked: Asked, at: DeltaGenerator) -> None:
    st.session_state["search_layers"] = list(asked.layers)
    at.multiselect(
        "Layers", ctx.run.layers, key="search_layers", placeholder="all",
        on_change=lambda: ctx.search(replace(ctx.now.asked, layers=tuple(sorted(st.session_state["search_layers"])))),
    )  # fmt: skip


def _kinds(chosen: list[Kind]) -> tuple[Kind, ...]:
    return tuple(k for k in KINDS if k in chosen) or KINDS
