"""Weights view: classes of neurons by their weights alone, statistics in figures, and one neuron's neighbours."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data.cached_stage import stage_record, weights_table
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.shell.link import copy_link
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import heading
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.weights import figures, frames
from neuron_signatures.dashboard.weights.neuron_card import neuron_card
from neuron_signatures.dashboard.widgets.elements import chart, empty, facts, show_error, show_lines, small, table
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.weights.folder import STATISTICS, WEIGHTS_FOLDER
from neuron_signatures.views.at_large.commands import FORECAST, weights_command
from neuron_signatures.views.at_large.texts import class_words
from neuron_signatures.views.coords import NeuronAt

_ALL = -1


def render(ctx: PageContext) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        heading("Weights", "what the weights alone say of every neuron")
        copy_link(ctx)
    if STATISTICS not in WEIGHTS_FOLDER.finished(ctx.run_dir):
        empty("This run has no weight statistics yet. This command says what they cost, and leaves it at that:",
              weights_command(ctx.run_dir, FORECAST), f"Without {FORECAST} it computes them. No data is needed, "
              "only the model.")  # fmt: skip
        return
    try:
        _render(ctx)
    except (ProjectError, OSError) as e:
        show_error(e)


def _render(ctx: PageContext) -> None:
    record = stage_record(ctx, WEIGHTS_FOLDER, STATISTICS)
    late = WEIGHTS_FOLDER.outdated(ctx.run_dir, record)
    show_lines("Made before these changed. Run the stage again.", late)
    show_lines("The stage warned:", record.warnings)
    statistics = weights_table(ctx)
    if not len(statistics):
        st.caption("No neuron was measured.")
        return
    facts(frames.class_line(frames.class_counts(statistics, record)))
    pair, classes, layer = _controls(statistics.columns.tolist(), sorted(set(statistics["layer"].tolist())),
                                     sorted(set(statistics["class"].fillna("none"))))  # fmt: skip
    rows = frames.filtered(statistics, classes, layer)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        shown = figures.drawn(rows, pair, ctx.at)
        if len(shown):
            chart(ctx, figures.scatter(shown, pair, ctx.at), "weights_scatter", opens=View.WEIGHTS)
        else:
            st.caption("No neuron with both numbers passes the filters.")
        cut = f"{len(shown):,} of " if len(shown) < len(rows) else ""
        how = ": those of a class, and a sample of the others" if cut and not classes else ""
        small(f"{cut}{count_of(len(rows), 'neuron')}{how}. Click a point to select the neuron.")
    with right:
        neuron_card(ctx, record)
    _table(ctx, rows)


def _controls(columns: list[str], layers: list[int], classes: list[str]) -> tuple[figures.Pair, list[str], int | None]:
    pairs = [p for p in figures.PAIRS if p.x in columns and p.y in columns]
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_weights"):
        pair = st.selectbox("Figure", pairs, key="ui_weights_pair", format_func=lambda p: p.title)
        chosen = st.multiselect("Classes", classes, key="ui_weights_classes", format_func=class_words,
                                placeholder="all")  # fmt: skip
        layer = st.selectbox("Layer", [_ALL, *layers], key="ui_weights_layer",
                             format_func=lambda n: "all" if n == _ALL else str(n))  # fmt: skip
    return pair, chosen, None if layer == _ALL else int(layer)


def _table(ctx: PageContext, rows: object) -> None:
    import pandas as pd

    assert isinstance(rows, pd.DataFrame)
    st.markdown("#### Neurons")
    numbers = [c for c in frames.COLUMNS if c != "class" and rows[c].notna().any()]
    if not numbers:
        st.caption("No neuron passes the filters.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_weights_table"):
        by = st.selectbox("Order", numbers, key="ui_weights_by", format_func=lambda c: frames.COLUMNS[c])
        ascending = st.toggle("Smallest first", key="ui_weights_ascending")
        with st.popover("Export"):
            downloads(rows, "weights", "weights_export")
    shown = frames.statistics_frame(rows, by, ascending=ascending)
    labels = shown["neuron"].tolist()
    table(shown, "weights_table", help=frames.STATISTICS_HELP, formats=frames.FORMATS, at_most=420,
          on_row=lambda i: ctx.open_stored(_at(labels[i]), View.WEIGHTS))  # fmt: skip
    if len(shown) < len(rows):
        small(f"The first {len(shown):,} of {count_of(len(rows), 'neuron')}.")


def _at(label: str) -> NeuronAt:
    layer, neuron = label[1:].split("N")
    return NeuronAt(int(layer), int(neuron))
