"""Interventions view: what changed in the prediction when neurons were edited, with controls and side effects."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.interventions.effect_panel import effect_panel
from neuron_signatures.dashboard.interventions.steer_panel import steer_panel
from neuron_signatures.dashboard.interventions.swap_panel import swap_panel
from neuron_signatures.dashboard.shell.link import copy_link
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import heading, stage_3
from neuron_signatures.dashboard.widgets.elements import empty, facts, lead, show_lines
from neuron_signatures.runs.intervention_records import EffectRecord, SwapRecord
from neuron_signatures.views.interventions.labels import settings, title, verdict
from neuron_signatures.views.interventions.results import ResultRef, example_flags, problem_lines

_CHOICE = "ui_intervention"


def render(ctx: PageContext) -> None:
    refs = cached_reads.interventions(ctx.run, ctx.data_key, ctx.results_key)
    show_lines("Some interventions of this run cannot be shown, or may be of other activations.", problem_lines(refs))
    readable = {r.stem: r for r in refs if not r.problem}
    stem = ctx.selection.result
    if stem not in readable:
        _offer(ctx)
        return
    _choose(ctx, readable)
    record = cached_reads.intervention(ctx.run_dir, ctx.results_key, stem)
    heading(title(record))
    lead(verdict(record))
    show_lines("This result has warnings.", record.warnings)
    facts(settings(record))
    if isinstance(record, SwapRecord):
        swap_panel(ctx, stem, record)
    elif isinstance(record, EffectRecord):
        effect_panel(ctx, stem, record)
    else:
        steer_panel(ctx, record)


def _choose(ctx: PageContext, readable: dict[str, ResultRef]) -> None:
    left, right = st.columns([6, 1], vertical_alignment="bottom")
    st.session_state[_CHOICE] = ctx.selection.result
    left.selectbox(
        "Result", list(readable), format_func=lambda stem: readable[stem].label, key=_CHOICE,
        on_change=lambda: ctx.open_result(st.session_state[_CHOICE]),
    )  # fmt: skip
    with right:
        copy_link(ctx)


def _offer(ctx: PageContext) -> None:
    empty(
        "No intervention has been made in this run yet. For example, a swap finds the fewest neurons whose values from "
        "another prompt change the answer:",
        stage_3(ctx.run_dir, *example_flags(ctx.prompt.probe_id)),
        "The other modes are effect (ablate, patch, flip or scale neurons) and steer (add to neurons, in amounts).",
    )
