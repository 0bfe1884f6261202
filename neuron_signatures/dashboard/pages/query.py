"""Query view: which tokens excite a neuron or a set of neurons, and which neurons a token excites, on the prompts of
the run; n-grams, clusters and contrasts on the whole corpus."""

from __future__ import annotations

from typing import Any

import streamlit as st

from neuron_signatures.dashboard.map.cached_work import index_of
from neuron_signatures.dashboard.query.corpus import ask_corpus
from neuron_signatures.dashboard.query.neurons import SHOWN, ask_neurons
from neuron_signatures.dashboard.query.tokens import ask_tokens
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import BOS_HELP
from neuron_signatures.dashboard.widgets.elements import empty

_DEFAULTS: dict[str, Any] = {
    "ui_query_kind": "tokens", "ui_query_set": "selected", "ui_query_n": 1, "ui_query_by": "mean",
    "ui_query_scale": "z", "ui_query_typed": "", "ui_query_top": SHOWN, "ui_query_text": "", "ui_query_lowest": "most",
    "ui_query_order": "z", "ui_bos": False,
}  # fmt: skip
_KINDS = {"tokens": "Which tokens excite these neurons?", "neurons": "Which neurons does this token excite?"}
_TEXTS = ("Prompts of the run", "Whole corpus")


def render(ctx: PageContext) -> None:
    for key, value in _DEFAULTS.items():
        st.session_state.setdefault(key, value)
    if not ctx.has_prompts:
        ask_corpus(ctx)
        return
    st.session_state["query_texts"] = _TEXTS[ctx.selection.corpus]
    st.segmented_control(
        "Texts", _TEXTS, key="query_texts", label_visibility="collapsed", required=True,
        on_change=lambda: ctx.choose(corpus=st.session_state["query_texts"] == _TEXTS[1]),
    )  # fmt: skip
    if ctx.selection.corpus:
        ask_corpus(ctx)
    else:
        _on_prompts(ctx)


def _on_prompts(ctx: PageContext) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        kind = st.radio(
            "Question", list(_KINDS), format_func=_KINDS.__getitem__, key="ui_query_kind", horizontal=True,
            label_visibility="collapsed",
        )  # fmt: skip
        st.checkbox("Include the first position (BOS)", key="ui_bos", help=BOS_HELP)
    index = index_of(ctx, include_bos=bool(st.session_state["ui_bos"]))
    if index.n_counted == 0:
        empty("This run has only first positions, which are excluded.", why="Select the box above to include them.")
    elif kind == "tokens":
        ask_tokens(ctx, index)
    else:
        ask_neurons(ctx, index)
