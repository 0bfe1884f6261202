"""The effect of editing neurons: as one set, and one by one."""

from __future__ import annotations

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.interventions.checks_panel import controls_panel, side_effects_panel
from neuron_signatures.dashboard.interventions.sheet_table import sheet_table
from neuron_signatures.dashboard.ranking.figures import Ranks, by_layer
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, show_error
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.intervention_records import EffectRecord
from neuron_signatures.views.interventions.effects import prediction_sheet
from neuron_signatures.views.interventions.sheets import Sheet
from neuron_signatures.views.interventions.swaps import cells_sheet, top_sheet

_FEWEST_POINTS = 3
"""Effects that are worth a chart."""


def effect_panel(ctx: PageContext, stem: str, record: EffectRecord) -> None:
    sheet_table(ctx, prediction_sheet(record), "int_prediction")
    edited = record.as_set
    if record.clean.top or (edited and edited.top):
        sheet_table(ctx, top_sheet(record.clean.top, edited.top if edited else (), ("clean", "edited")), "int_top")
    if edited is None:
        st.caption("Every neuron was edited alone: this result has no set.")
    else:
        controls_panel(ctx, record.controls)
    _single(ctx, stem)
    if record.cells:
        with st.expander("The changed activations"):
            sheet_table(ctx, cells_sheet(record.cells, record.prompt.tokens), "int_cells", export=True)
    side_effects_panel(ctx, record.side_effects)


def _single(ctx: PageContext, stem: str) -> None:
    """The effects of single neurons. A damaged table does not hide the rest of the page."""
    try:
        sheet = cached_reads.effects_of_neurons(ctx.run_dir, ctx.results_key, stem)
    except ProjectError as e:
        st.markdown("#### Single neurons")
        show_error(e)
        return
    sheet_table(ctx, sheet, "int_single", export=True)
    points = _points(ctx, sheet)
    if len(points.layer) >= _FEWEST_POINTS:
        chart(ctx, by_layer(points, "effect"), "int_single_chart", opens=View.NEURON)


def _points(ctx: PageContext, sheet: Sheet) -> Ranks:
    """The rows of stored neurons with a finite effect."""
    effect, act = (np.array(sheet.column(name), np.float64) for name in ("effect", "act"))
    rows = np.array([i for i, at in enumerate(sheet.neurons) if np.isfinite(effect[i]) and ctx.run.stores(*at)], int)
    layer, neuron = (np.array([at[axis] for at in sheet.neurons], np.int64)[rows] for axis in (0, 1))
    return Ranks(layer, neuron, rows, effect[rows], act[rows], [""] * len(rows))
