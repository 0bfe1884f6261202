"""Panels of the view *Drift*: the model, its neurons, one neuron, matches, and what is not compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from neuron_signatures.dashboard.data import cached_comparisons as cached
from neuron_signatures.dashboard.data.cached_stage import comparison_table
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.drift import figures, frames
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, small, table
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.comparisons.folder import ANIMATION, DRIFT, MATCHES, STEPS, UNALIGNED, comparison_folder
from neuron_signatures.runs.names import inside
from neuron_signatures.views.comparisons.course import Checkpoint, reference_of
from neuron_signatures.views.coords import NeuronAt

_ALL = -1


def model_panel(ctx: PageContext, name: str, checkpoints: Sequence[Checkpoint], chosen: Checkpoint) -> None:
    st.markdown(
        "#### The model",
        help="Linear CKA of all neurons of a layer with those of the reference, with the unbiased estimator of HSIC. "
        "1: the same up to rotation; about 0: unrelated.",
    )
    points = cached.cka(ctx, name)
    if any(p.debiased is not None for p in points):
        chart(ctx, figures.cka_lines(points, checkpoints, selected=chosen.number), "drift_cka")
        layers = {p.layer for p in points if p.layer >= 0}
        if len(layers) > figures.MOST_LAYERS:
            small(f"{figures.MOST_LAYERS} of {len(layers)} layers have a line.")
        _steps(ctx, name, checkpoints)
    else:
        st.caption("CKA was not computed.")


def _steps(ctx: PageContext, name: str, checkpoints: Sequence[Checkpoint]) -> None:
    """Between which checkpoints the model changes most."""
    frame = frames.steps_frame(comparison_table(ctx, name, STEPS), checkpoints)
    if len(frame) > 1:
        with st.expander("Change of the CKA from each checkpoint to the next"):
            formats = {**dict.fromkeys(("change", "low", "high"), "%+.3f"), "largest": "percent"}
            table(frame, "drift_steps", help=frames.STEP_HELP, formats=formats, at_most=300)


def cloud_panel(ctx: PageContext, name: str) -> None:
    st.markdown(
        "#### Neurons by checkpoint",
        help="A point is a neuron, compared with the neuron of the same index in the reference. The slider and Play "
        "step through the checkpoints. Click a point to select the neuron.",
    )
    found = cached.cloud_of(ctx, name)
    if not any(len(rows) for _, rows in found.frames):
        st.caption("No neuron has both numbers defined.")
        return
    chart(ctx, figures.cloud(found, ctx.at), "drift_cloud", opens=View.DRIFT)
    part = f"{found.n_shown:,} of {found.n_neurons:,} neurons, at random" if found.n_shown < found.n_neurons else \
        count_of(found.n_neurons, "neuron")  # fmt: skip
    small(part)


def drifted_panel(ctx: PageContext, name: str, checkpoints: Sequence[Checkpoint], chosen: Checkpoint) -> None:
    st.markdown("#### Most drifted neurons", help="Each neuron beside the one of the same index in the reference.")
    rows = cached.pair(ctx, name, DRIFT, chosen.number, reference_of(checkpoints).number)
    orders = [o for o in frames.ORDERS if len(rows) and rows[o.column].notna().any()]
    if not orders:
        st.caption("No neuron was compared at this checkpoint.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_drift"):
        order = st.selectbox("Order", orders, key="ui_drift_order", format_func=lambda o: o.title)
        layers = sorted(set(rows["layer"].tolist()))
        layer = st.selectbox("Layer", [_ALL, *layers], key="ui_drift_layer",
                             format_func=lambda n: "all" if n == _ALL else str(n))  # fmt: skip
        with st.popover("Export"):
            downloads(rows, "drift", "drift_export")
    some = frames.most_drifted(rows, order, layer=None if layer == _ALL else int(layer))
    at = [NeuronAt(int(a), int(b)) for a, b in zip(some["layer"], some["neuron"], strict=True)]
    table(frames.drift_frame(some), "drift_table", help=frames.DRIFT_HELP, formats=frames.FORMATS, at_most=390,
          on_row=lambda i: ctx.open_stored(at[i], View.DRIFT))  # fmt: skip
    undefined = int(rows[order.column].isna().sum())
    small(f"{len(some):,} of {count_of(len(rows), 'neuron')}" + (f"; {undefined:,} undefined" if undefined else ""))


def neuron_panel(ctx: PageContext, name: str, checkpoints: Sequence[Checkpoint]) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"#### {ctx.at.label} over the checkpoints", width="content")
        st.button("Open", key="drift_open", on_click=lambda: ctx.choose(view=View.NEURON),
                  help="Everything about this neuron, in the Neuron view.")  # fmt: skip
    points = cached.course(ctx, name, ctx.at)
    if points:
        chart(ctx, figures.neuron_lines(points, checkpoints), "drift_neuron")
    else:
        st.caption("The comparison does not have this neuron.")


def matches_panel(ctx: PageContext, name: str, checkpoints: Sequence[Checkpoint], chosen: Checkpoint) -> None:
    st.markdown("#### Matches across indices", help="Whether another neuron of the layer has taken the place of one.")
    rows = cached.pair(ctx, name, MATCHES, chosen.number, reference_of(checkpoints).number)
    if not len(rows):
        st.caption("No neurons were matched at this checkpoint.")
        return
    small(frames.match_sentence(rows))
    some = frames.other_matches(rows)
    if len(some):
        at = [NeuronAt(int(a), int(b)) for a, b in zip(some["layer"], some["neuron"], strict=True)]
        table(frames.matches_frame(some), "drift_matches", help=frames.MATCH_HELP, formats=frames.FORMATS, at_most=300,
              on_row=lambda i: ctx.open_stored(at[i], View.DRIFT))  # fmt: skip
    else:
        st.caption("Every neuron above the null is best matched by its own index.")


def unaligned_panel(ctx: PageContext, name: str, checkpoints: Sequence[Checkpoint]) -> None:
    rows = comparison_table(ctx, name, UNALIGNED)
    if not len(rows):
        small("Everything that the runs hold is aligned.")
        return
    with st.expander(f"Not compared: {count_of(len(rows), 'entry', 'entries')}"):
        table(frames.unaligned_frame(rows, checkpoints), "drift_unaligned", at_most=260)


def animation_button(ctx: PageContext, name: str) -> None:
    """The download of the standalone animation, if the stage wrote one."""
    path = inside(ctx.run_dir, f"{comparison_folder(name).folder}/{ANIMATION}")
    if path.is_file():
        st.download_button(
            "Animation (HTML)", lambda: Path(path).read_bytes(), f"drift_{ctx.selection.run}.html", "text/html",
            key="drift_html", on_click="ignore", help="The standalone file that the stage wrote; it needs no network.",
        )  # fmt: skip
