"""Drift view: how the neurons of this run differ from those of other runs, such as earlier checkpoints."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data import cached_comparisons as cached
from neuron_signatures.dashboard.data.cached_stage import comparison_record
from neuron_signatures.dashboard.drift import frames, panels
from neuron_signatures.dashboard.shell.link import copy_link
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import heading
from neuron_signatures.dashboard.widgets.elements import empty, show_error, show_lines, table
from neuron_signatures.runs.comparisons.folder import comparison_folder, list_comparisons
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.at_large.commands import compare_command
from neuron_signatures.views.comparisons.course import Checkpoint

_NAME, _CHECKPOINT = "ui_drift_comparison", "ui_drift_checkpoint"
_HELP = {
    "loss": "Mean negative log-likelihood per token on the prompts, in nats.",
    "tokens": "Tokens that are compared.",
}


def render(ctx: PageContext) -> None:
    names = list_comparisons(ctx.run_dir)
    with st.container(horizontal=True, vertical_alignment="center"):
        heading("Drift", "the neurons of this run in other checkpoints and models")
        copy_link(ctx)
    if not names:
        empty("This run has not been compared with others yet.", compare_command(ctx.run_dir))
        return
    name = _chosen(ctx, names)
    try:
        _render(ctx, name)
    except (ProjectError, OSError) as e:
        show_error(e)


def _chosen(ctx: PageContext, names: list[str]) -> str:
    """The comparison to show; a message if the address names another one."""
    wanted = ctx.selection.comparison
    if wanted and wanted not in names:
        show_lines("There is no such comparison; the first is shown.", [wanted])
    name = wanted if wanted in names else names[0]
    if len(names) > 1:
        st.session_state[_NAME] = name
        st.selectbox("Comparison", names, key=_NAME, format_func=escape,
                     on_change=lambda: ctx.open_comparison(st.session_state[_NAME]))  # fmt: skip
    return name


def _render(ctx: PageContext, name: str) -> None:
    record = comparison_record(ctx, name)
    show_lines("Made before these changed. Compare the runs again.",
               comparison_folder(name).outdated(ctx.run_dir, record))  # fmt: skip
    show_lines("The stage warned:", record.warnings)
    checkpoints = cached.checkpoints(ctx, name)
    table(frames.checkpoints_frame(checkpoints), "drift_checkpoints", help=_HELP, formats={"loss": "%.3f"})
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_drift_checkpoint"):
        chosen = _checkpoint(checkpoints)
        if chosen is not None:
            panels.animation_button(ctx, name)
    if chosen is None:
        st.caption("There is nothing to compare the reference with.")
        return
    panels.model_panel(ctx, name, checkpoints, chosen)
    left, right = st.columns(2, gap="medium")
    with left:
        panels.cloud_panel(ctx, name)
    with right:
        panels.drifted_panel(ctx, name, checkpoints, chosen)
    panels.neuron_panel(ctx, name, checkpoints)
    panels.matches_panel(ctx, name, checkpoints, chosen)
    panels.unaligned_panel(ctx, name, checkpoints)


def _checkpoint(checkpoints: list[Checkpoint]) -> Checkpoint | None:
    """The checkpoint whose tables are shown: by default the first; None if there is only the reference."""
    others = {c.number: c for c in checkpoints if not c.is_reference}
    if not others:
        return None
    if st.session_state.get(_CHECKPOINT) not in others:
        st.session_state[_CHECKPOINT] = min(others)
    if len(others) == 1:
        return next(iter(others.values()))
    chosen = st.selectbox("Checkpoint of the tables", list(others), key=_CHECKPOINT,
                          format_func=lambda i: escape(others[i].name))  # fmt: skip
    return others[int(chosen)]
