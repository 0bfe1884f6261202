"""Two sets of explanations that the same scorer has scored, pole by pole."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from neuron_signatures.dashboard.data.cached_scores import shared
from neuron_signatures.dashboard.scores.figures import MOST_POINTS, two_sets
from neuron_signatures.dashboard.scores.sets_panel import Chosen
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, lead, small
from neuron_signatures.runs.scores.reader import ScoredSet
from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.scores.over_neurons import comparison_sentence, pairs, same_scorer

_HELP = (
    "Only poles that both sets have count. The difference is paired, with a 95 % interval over neurons. Above the "
    "dotted line the chosen set is better."
)


def compare_panel(ctx: PageContext, sets: Sequence[ScoredSet], chosen: Chosen) -> None:
    """Nothing if the scorer has scored no other set."""
    others = same_scorer(sets, chosen.info, chosen.score)
    if not others:
        return
    st.markdown("#### Against another set", help=_HELP)
    name = others[0].name
    if len(others) > 1:
        name = st.selectbox("Against", [o.name for o in others], key="ui_scores_against", format_func=escape,
                            label_visibility="collapsed")  # fmt: skip
    reader, a, score = shared(ctx.run_dir), chosen.info.name, chosen.score
    found = reader.compared(ctx.scores_key, a, name, score)
    if found is None or not found.n:
        st.caption("No pole has this score in both.")
        return
    other = next(o for o in others if o.name == name)
    lead(comparison_sentence(found))
    if not (other.finished and chosen.info.finished):
        small("One of the two is not finished: the comparison is of the poles that are scored so far.")
    both = pairs(reader.table(ctx.scores_key, a), reader.table(ctx.scores_key, name), score)
    left, _ = st.columns([1.4, 1])
    with left:
        chart(ctx, two_sets(both, chosen.info.set, other.set), "scores_compared", opens=View.NEURON)
    some = f"{MOST_POINTS:,} of {len(both):,} poles are shown. " if len(both) > MOST_POINTS else ""
    small(f"{some}Click a point to open the neuron.")
