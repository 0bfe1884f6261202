"""Circuit view: by which neurons the model gets from a prompt to one answer, as a graph over positions and layers."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.circuit.canvas import canvas
from neuron_signatures.dashboard.circuit.checks_panel import checks_panel
from neuron_signatures.dashboard.circuit.common_panel import PART, PARTS, common_panel
from neuron_signatures.dashboard.circuit.edit_panel import edit_panel
from neuron_signatures.dashboard.circuit.exports import exports
from neuron_signatures.dashboard.circuit.group_panel import collapsed, group_panel
from neuron_signatures.dashboard.circuit.header_panel import choose_circuit, header_panel
from neuron_signatures.dashboard.circuit.node_panel import evidence_panel, selection_panel
from neuron_signatures.dashboard.circuit.opened_page import CircuitPage, selected_items
from neuron_signatures.dashboard.circuit.threshold_panel import hidden_panel, second_line, thresholds_panel
from neuron_signatures.dashboard.data import cached_circuits
from neuron_signatures.dashboard.shell.link import copy_link
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import heading, no_prompts
from neuron_signatures.dashboard.widgets.elements import empty, show_error, show_lines
from neuron_signatures.runs.circuits.groups import Groups, read_groups
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.result_records import another_dump
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.circuit.layout import Layout, lay_out
from neuron_signatures.views.circuit.opened import CircuitRef, trace_command
from neuron_signatures.views.circuit.shown import show


def render(ctx: PageContext) -> None:
    refs = cached_circuits.refs(ctx)
    traced = [r for r in refs if not r.problem and not r.is_common]
    common = [r for r in refs if r.is_common]
    with st.container(horizontal=True, vertical_alignment="center"):
        heading("Circuit", "by which neurons one answer comes about")
        copy_link(ctx)
    show_lines("These folders hold no circuit that can be read.", [f"{brief(r.name)}: {r.problem}" for r in refs
                                                                   if r.problem][:8])  # fmt: skip
    part = PARTS[0] if traced else PARTS[1]
    if traced and common:
        st.session_state.setdefault(PART, PARTS[0])
        part = st.segmented_control("Part", PARTS, key=PART, label_visibility="collapsed", required=True)
    if not traced and not common:
        _say_nothing_yet(ctx)
    elif part == PARTS[1]:
        common_panel(ctx, common)
    else:
        _circuit(ctx, traced)


def _say_nothing_yet(ctx: PageContext) -> None:
    if not ctx.has_prompts:
        no_prompts(ctx.run)
        return
    empty(
        "This run has no circuits yet. This command traces the neurons behind the answer to the selected prompt:",
        trace_command(ctx.run_dir, ctx.prompt.probe_id),
        "It needs the model. --dry_run says what it would cost.",
    )


def _circuit(ctx: PageContext, traced: list[CircuitRef]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        name = choose_circuit(ctx, traced)
        spot = st.popover("Export", width="content")
    try:
        page, layout = _render(ctx, name)
        with spot:
            exports(page, layout)
    except (ProjectError, OSError) as e:
        show_error(e)


def _render(ctx: PageContext, name: str) -> tuple[CircuitPage, Layout]:
    stored, index = cached_circuits.circuit(ctx, name), cached_circuits.index(ctx, name)
    groups, problems = _groups(ctx, name)
    if doubt := another_dump(ctx.run.manifest, stored.record):
        problems.append(doubt)
    header_panel(ctx, stored, problems)
    thresholds = thresholds_panel(name, stored.graph)
    held = groups or Groups()
    shown = show(stored.graph, thresholds, groups=held.groups, pinned=held.pinned, collapsed=collapsed(name),
                 chosen=ctx.selection.nodes)  # fmt: skip
    layout = lay_out(shown)
    page = CircuitPage(ctx, stored, index, groups, shown, selected_items(shown, ctx.selection.nodes))
    names = {g.id: g.label or g.id for g in held.groups}
    canvas(name, shown, layout, [i.id for i in page.selected], lambda ids: ctx.open_circuit(name, ids), names,
           second_line())  # fmt: skip
    hidden_panel(name, shown)
    group_panel(page)
    selection_panel(page)
    edit_panel(page)
    evidence_panel(page)
    checks_panel(page)
    return page, layout


def _groups(ctx: PageContext, name: str) -> tuple[Groups | None, list[str]]:
    """The groups as they are now; None and a problem if they cannot be read."""
    try:
        return read_groups(ctx.run_dir, name), []
    except ProjectError as e:
        return None, [f"groups: {e.line()}"]
