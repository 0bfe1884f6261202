"""Ranking view: the rows of a ranked list, and how well rankings agree with real ablations."""

from __future__ import annotations

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.ranking.figures import MOST_BARS, act_against_score, bars, by_layer
from neuron_signatures.dashboard.ranking.table import rank_frame, rank_help, ranks_of
from neuron_signatures.dashboard.ranking.validation_panel import validation_panel
from neuron_signatures.dashboard.shell.list_walk import Filters, default_list, left_out_note, n_not_stored, passing
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import heading, influence_command, stage_2
from neuron_signatures.dashboard.shell.sidebar import filters
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, empty, facts, show_lines, table
from neuron_signatures.views.ranked import ListRef, RankedList

_PARTS = ("Neurons", "Validation")
_DEFAULT_IS = {
    "influence": "The newest influence result is shown.",
    "peaks": "The peaks are shown, because there is no influence result.",
    "signatures": "The signatures are shown, because there is no other list.",
    "contrast": "The newest contrast is shown, because there is no other list.",
}
_CHARTS = {"per layer": by_layer, "activation against score": act_against_score, "bars": bars}


def render(ctx: PageContext) -> None:
    st.session_state.setdefault("ui_rank_part", _PARTS[0])
    part = st.segmented_control("Part", _PARTS, key="ui_rank_part", label_visibility="collapsed", required=True)
    if part == _PARTS[1]:
        validation_panel(ctx)
    else:
        _neurons(ctx)


def _neurons(ctx: PageContext) -> None:
    show_lines("Some results of this run cannot be read.", [r.problem for r in ctx.lists if r.problem])
    ref = ctx.listed
    selected = ref is not None
    ref = ref or default_list(ctx.lists)
    if ref is None:
        empty("No neurons have been ranked yet. To rank them by peaks (no model needed):", stage_2(ctx.run_dir))
        empty("To rank them by influence on a prediction:", influence_command(ctx.run_dir, ctx.prompt.probe_id))
        return
    ranked = cached_reads.ranked(ctx.run_dir, ctx.results_key, ref)
    heading(ref.title)
    show_lines("This result has warnings.", ranked.warnings)
    with st.expander("How this list was computed"):
        facts(ranked.meta)
    bounds = filters() if selected else Filters()
    rows = passing(ranked, bounds, ctx.run)
    _row_caption(ref, selected, len(rows), len(ranked))
    if left_out := left_out_note(n_not_stored(ranked, bounds, ctx.run)):
        st.caption(left_out)
    if not len(rows):
        st.info("No row of a stored neuron passes the filters." if len(ranked) else "The list is empty.")
        return
    if np.isfinite(ranked.score[rows]).any():
        _chart(ctx, ranked, rows)
    else:
        empty("No score is finite, so there is no chart and the order is not meaningful.")
    frame = rank_frame(ranked, rows)
    table(frame, f"rank_{ref.stem}", help=rank_help(ranked), height=420,
          on_row=lambda i: ctx.open_neuron(ranked.row(rows[i]).at, list=ref.stem, row=int(rows[i])))  # fmt: skip
    with st.popover("Export"):
        downloads(frame, ref.stem, "rank")


def _row_caption(ref: ListRef, selected: bool, n: int, of: int) -> None:
    """Show the number of rows, and which list they are from if none is selected."""
    if not selected:
        st.caption(
            f"No list is selected. {_DEFAULT_IS[ref.kind]} Select a list on the left to step through it "
            "and to filter it."
        )
    why = " The filters on the left limit the rows." if selected and n < of else ""
    first = "The first " if not selected and n < of else ""
    st.caption(f"{first}{n} of {of} rows.{why} Click a point or a cell to open the neuron.")


def _chart(ctx: PageContext, ranked: RankedList, rows: np.ndarray) -> None:
    names = [n for n in _CHARTS if n != "activation against score" or ranked.ref.kind not in ("signatures", "contrast")]
    if st.session_state.get("ui_rank_chart") not in names:
        st.session_state["ui_rank_chart"] = names[0]
    name = st.segmented_control("Chart", names, key="ui_rank_chart", label_visibility="collapsed", required=True)
    if name == "bars" and len(rows) > MOST_BARS:
        st.caption(f"The first {MOST_BARS}.")
    figure = _CHARTS[name](ranks_of(ranked, rows), ranked.score_name)
    chart(ctx, figure, f"rank_chart_{name}", opens=View.NEURON, list=ranked.ref.stem)
