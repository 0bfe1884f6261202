"""One score of one scored set over neurons: its distribution beside the null, by layer, and as a list."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data.cached_explanations import texts_by_id
from neuron_signatures.dashboard.data.cached_scores import shared
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.scores.figures import MOST_POINTS, chance_of, cumulative, histograms, layers
from neuron_signatures.dashboard.scores.frames import FORMATS, ROW_HELP, row_frame
from neuron_signatures.dashboard.scores.sets_panel import Chosen
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, small, table
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.scores.over_neurons import extreme_rows, of_score, points
from neuron_signatures.views.scores.texts import interval_text, short_number

ROWS = 200
"""Rows of the list."""
_SHAPES = ("histogram", "cumulative")
_ORDERS = ("lowest first", "largest first")


def distribution_panel(ctx: PageContext, chosen: Chosen) -> None:
    st.markdown("#### Scores and their null", help=_DISTRIBUTION_HELP)
    found = points(shared(ctx.run_dir).table(ctx.scores_key, chosen.info.name), chosen.score)
    with st.spinner("Reading the draws of the null", show_time=True):
        null = shared(ctx.run_dir).null_values(ctx.scores_key, chosen.info.name, chosen.score)
    if not found and not null:
        st.caption("No value is defined.")
        return
    st.session_state.setdefault("ui_scores_shape", _SHAPES[0])
    shape = st.segmented_control("As", _SHAPES, key="ui_scores_shape", required=True, label_visibility="collapsed")
    make = cumulative if shape == _SHAPES[1] else histograms
    chart(ctx, make([p.value for p in found], null, chance_of(chosen.score)), "scores_distribution")
    s = shared(ctx.run_dir).summary(ctx.scores_key, chosen.info.name, chosen.score)
    if s is not None and s.mean is not None:
        share = "" if s.share_above_null is None else f"; {s.share_above_null:.0%} of the poles are above their null"
        lift = "" if s.lift is None else f", lift {short_number(s.lift)}"
        null_mean = "" if s.null_best is None else f", null {short_number(s.null_best)}"
        small(f"mean {short_number(s.mean)} {interval_text(s.low, s.high)}{null_mean}{lift}, over {s.n:,} poles of "
              f"{count_of(s.n_neurons, 'neuron')}{share}. The dashed lines are the means.")  # fmt: skip


def layer_panel(ctx: PageContext, chosen: Chosen) -> None:
    st.markdown("#### By layer", help=_LAYER_HELP)
    found = shared(ctx.run_dir).by_layer(ctx.scores_key, chosen.info.name, chosen.score)
    if not found:
        st.caption("No value is defined.")
        return
    every = points(shared(ctx.run_dir).table(ctx.scores_key, chosen.info.name), chosen.score)
    chart(ctx, layers(found, every), "scores_layers", opens=View.NEURON)
    some = f"{MOST_POINTS:,} of {len(every):,} explanations are shown as points. " if len(every) > MOST_POINTS else ""
    small(f"{some}Click a point to open the neuron.")


def list_panel(ctx: PageContext, chosen: Chosen) -> None:
    """The explanations with the lowest or the largest values, and all rows as downloads."""
    every = shared(ctx.run_dir).table(ctx.scores_key, chosen.info.name)
    st.markdown("#### Explanations by score", help="Current explanations with a value.")
    st.session_state.setdefault("ui_scores_order", _ORDERS[0])
    order = st.segmented_control("Order", _ORDERS, key="ui_scores_order", required=True, label_visibility="collapsed")
    rows = extreme_rows(every, chosen.score, ROWS, largest=order == _ORDERS[1])
    if not rows:
        st.caption("No value is defined.")
    else:
        frame = row_frame(rows, texts_by_id(ctx, [r.explanation_id for r in rows]))
        neurons = tuple(NeuronAt(r.layer, r.neuron) for r in rows)
        stores = [ctx.run.stores(*at) for at in neurons]

        def open_neuron(row: int) -> None:
            if stores[row]:
                ctx.open_neuron(neurons[row])

        table(frame, "scores_list", help=ROW_HELP, height=min(38 + 35 * len(rows), 420), on_row=open_neuron,
              widths={"explanation": 520}, formats={c: how for c, how in FORMATS.items() if c in frame})  # fmt: skip
        small(f"{count_of(len(rows), 'explanation')}. Click a cell to open the neuron.")
    with st.popover("Export all rows"):
        downloads(of_score(every, chosen.score), chosen.info.name, "scores_rows_export")


_DISTRIBUTION_HELP = (
    "The null are explanations of other neurons of the same layer, scored on this neuron, pooled over neurons. The "
    "area of both is 100 %."
)
_LAYER_HELP = (
    "The mean over the poles of the layer with a 95 % interval over neurons; grey is the mean of the null."
)  # fmt: skip
