"""The worst mistakes of the explanations with the lowest scores."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data.cached_explanations import texts_by_id
from neuron_signatures.dashboard.data.cached_scores import own_line, shared
from neuron_signatures.dashboard.scores.aligned_html import mistake_html
from neuron_signatures.dashboard.scores.sets_panel import Chosen
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import small
from neuron_signatures.runs.scores.names import SIMULATORS
from neuron_signatures.runs.scores.table import ScoreRow
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.scores.mistakes import worst_of_each_kind
from neuron_signatures.views.scores.over_neurons import extreme_rows
from neuron_signatures.views.scores.texts import short_number

_FIRST, _MORE, _EACH = 5, 10, 2
"""Explanations that are shown, how many a button adds, and mistakes of each kind."""
_SHOWN = "scores_mistakes_shown"
_HELP = (
    "Stored mistakes of the explanations with the lowest values: tokens with a prediction far above the activation, "
    "and active tokens that were not predicted. Both are shares of their largest value."
)


def mistakes_panel(ctx: PageContext, chosen: Chosen) -> None:
    """Nothing for scorers that do not predict activations."""
    if chosen.info.scorer not in SIMULATORS:
        return
    st.markdown("#### Where explanations fail", help=_HELP)
    n = int(st.session_state.get(_SHOWN, _FIRST))
    rows = extreme_rows(shared(ctx.run_dir).table(ctx.scores_key, chosen.info.name), chosen.score, n + 1)
    if not rows:
        st.caption("No value is defined.")
        return
    texts = texts_by_id(ctx, [r.explanation_id for r in rows[:n]])
    for row, text in zip(rows[:n], texts, strict=True):
        _explanation(ctx, chosen, row, text)
    if len(rows) > n:
        st.button("Show more", key="more_mistakes", on_click=lambda: st.session_state.update({_SHOWN: n + _MORE}))


def _explanation(ctx: PageContext, chosen: Chosen, row: ScoreRow, text: str) -> None:
    own = own_line(ctx, chosen.info.name, row.explanation_id)
    left, right = st.columns([1, 6])
    at = NeuronAt(row.layer, row.neuron)
    with left:
        st.button(row.at.label, key=f"mistakes_of_{row.explanation_id}", disabled=not ctx.run.stores(*at),
                  on_click=lambda: ctx.open_neuron(at), help="Open the neuron.")  # fmt: skip
    with right:
        small(f"{short_number(row.value)}: {text or '(no text)'}")
        if own is None or not own.mistakes:
            st.caption("No mistake is stored.")
        else:
            st.html("".join(map(mistake_html, worst_of_each_kind(own.mistakes, _EACH))))
