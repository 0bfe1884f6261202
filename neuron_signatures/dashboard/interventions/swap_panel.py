"""A swap: over all pairs, and one pair."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.interventions.checks_panel import controls_panel, side_effects_panel
from neuron_signatures.dashboard.interventions.figures import answer_curve, share_curve, swap_curve
from neuron_signatures.dashboard.interventions.sheet_table import sheet_table
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import chart, facts, lead, small
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.intervention_records import SharedList, SwapPair, SwapRecord
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.interventions import swaps
from neuron_signatures.views.interventions.labels import pair_settings, pair_title, pair_verdict


def swap_panel(ctx: PageContext, stem: str, record: SwapRecord) -> None:
    if len(record.pairs) == 1:
        _pair(ctx, record.pairs[0])
        return
    if record.summary is not None:
        facts(swaps.summary_lines(record.summary))
        st.markdown("#### Pairs flipped by the first k cells", help=_SHARES)
        chart(ctx, share_curve([("own list of each pair, 95 % interval", record.summary.flipped_by_k)]), "int_shares")
    if record.shared is not None:
        _shared(ctx, record.shared)
    sheet_table(ctx, swaps.pairs_sheet(record), "int_pairs", on_row=lambda i: ctx.open_result(stem, i), export=True)
    small("Click a cell to open the pair.")
    i = ctx.selection.pair
    if i is None or i >= len(record.pairs):
        return
    pair = record.pairs[i]
    st.divider()
    st.markdown(f"### Pair {i + 1}")
    lead(f"{brief(pair.id)}: {pair_title(pair)}. {pair_verdict(pair)}")
    _pair(ctx, pair)


def _pair(ctx: PageContext, pair: SwapPair) -> None:
    facts(pair_settings(pair))
    if pair.curve:
        left, right = st.columns(2)
        with left:
            st.markdown("#### Logit difference", help=_DIFFERENCE)
            chart(ctx, swap_curve(pair), "int_curve")
        with right:
            st.markdown("#### Both answers", help="Probabilities after the first k cells; the ranks are in the hover.")
            chart(ctx, answer_curve(pair), "int_answers_curve")
    sheet_table(ctx, swaps.answers_sheet(pair), "int_answers")
    if pair.top_before or pair.top_after:
        sheet_table(ctx, swaps.top_sheet(pair.top_before, pair.top_after), "int_top")
    controls_panel(ctx, pair.controls)
    sheet_table(ctx, swaps.cells_sheet(pair.cells, pair.destination.tokens), "int_cells", export=True)
    with st.expander("The curve as a table"):
        sheet_table(ctx, swaps.curve_sheet(pair), "int_curve_table", export=True)
    side_effects_panel(ctx, pair.side_effects)


def _shared(ctx: PageContext, shared: SharedList) -> None:
    st.markdown("#### One list for all pairs", help=_SHARED)
    facts(swaps.shared_lines(shared))
    lists = [
        ("held-out pairs, 95 % interval", shared.held_out),
        ("selection pairs", shared.selection),
        ("random sets on held-out pairs", shared.held_out_random),
    ]
    if shared.held_out:
        chart(ctx, share_curve([(name, rows) for name, rows in lists if rows]), "int_shared_shares")
    sheet_table(ctx, swaps.shared_cells_sheet(shared), "int_shared_cells")
    if shared.side_effects is not None:
        with st.expander(f"Side effects of the first {count_of(shared.chosen_k, 'cell')}"):
            side_effects_panel(ctx, shared.side_effects, "int_shared_neutral")


_DIFFERENCE = (
    "Logit of the source's answer minus that of the destination's, after the first k cells are set to their values in "
    "the source. Above the dotted line, the source's answer is the more likely one. The band is that of random cells "
    "with the same norms."
)
_SHARES = "A pair flips when the source's answer is the most likely token."
_SHARED = (
    "Neurons chosen on the selection pairs and tested on pairs that took no part in the choice. The share on the "
    "selection pairs is optimistic."
)
