"""Validation of rankings on the Ranking view: agreement with ablations, sets, and random sets."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.ranking.validation_figures import (
    MOST_POINTS,
    agreement,
    cmd_by_metric,
    curves,
    score_against_effect,
)
from neuron_signatures.dashboard.ranking.validation_tables import (
    CONTROL_HELP,
    METRIC_HELP,
    control_frame,
    metric_frame,
    with_intervals,
)
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import VALIDATE, heading, influence_command
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, empty, facts, show_error, show_lines, small, table
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.result_records import ValidationRecord
from neuron_signatures.runs.results import list_validations
from neuron_signatures.runs.tokens import brief, escape
from neuron_signatures.views.lists.list_files import target_title
from neuron_signatures.views.lists.validated import best_line, measured_line


def validation_panel(ctx: PageContext) -> None:
    stems = list_validations(ctx.run_dir)
    if not stems:
        empty(
            "No ranking has been validated against ablations yet.",
            influence_command(ctx.run_dir, ctx.prompt.probe_id, *VALIDATE),
        )
        return
    stem = stems[0]
    if len(stems) > 1:
        stem = st.selectbox("Validation", stems, format_func=escape, key="ui_validation")
    found = cached_reads.validation(ctx.run, ctx.data_key, ctx.results_key, stem)
    heading(target_title(found.target, found.prompt_id))
    _summary(found)
    show_lines("This result has warnings.", found.warnings)
    _figures(ctx, found)
    frame = metric_frame(found)
    table(with_intervals(frame), "val_metrics", help=METRIC_HELP)
    if found.sampled:
        _effects(ctx, found, stem)
    st.markdown("#### Against random sets", help="Random sets with the same number of neurons from each layer.")
    controls = control_frame(found)
    table(controls, "val_controls", help=CONTROL_HELP)
    with st.popover("Export"):
        downloads(frame, stem, "val")
        downloads(controls, f"{stem}_random", "val_random")


def _summary(found: ValidationRecord) -> None:
    facts([
        ("best for single neurons (Spearman)", best_line(found.winner_single, found.winner_single_why)),
        ("best for sets (least CMD)", best_line(found.winner_sets, found.winner_sets_why)),
        ("truth", measured_line(found)),
        ("sets", f"of {found.n_units:,} neurons"),
        ("computed", found.created_at_utc),
    ])  # fmt: skip
    criteria = (found.winner_single_criterion, found.winner_sets_criterion)
    for what, criterion in zip(("Single neurons", "Sets"), criteria, strict=True):
        if criterion:
            small(f"{what}: {criterion}.")


def _figures(ctx: PageContext, found: ValidationRecord) -> None:
    left, right = st.columns(2)
    cmd = cmd_by_metric(found.metrics)
    with left:
        st.markdown("#### Single neurons", help=_SINGLE)
        chart(ctx, agreement(found.metrics), "val_agreement")
    if cmd is None:
        return
    with right:
        st.markdown("#### Sets", help=_SETS)
        chart(ctx, cmd, "val_cmd")
    with left:
        st.markdown("#### Faithfulness", help=_FAITHFULNESS)
        chart(ctx, curves(found.metrics, "faithfulness"), "val_faithfulness")
    with right:
        st.markdown("#### Completeness", help=_COMPLETENESS)
        chart(ctx, curves(found.metrics, "completeness"), "val_completeness")


def _effects(ctx: PageContext, found: ValidationRecord, stem: str) -> None:
    """Score against effect for a chosen metric. A damaged table does not hide the rest of the page."""
    st.markdown("#### Score against effect", help=_EFFECTS)
    metrics = tuple(m.metric for m in found.metrics)
    try:
        effects = cached_reads.sampled_effects(ctx.run_dir, ctx.results_key, stem, metrics)
    except ProjectError as e:
        show_error(e)
        return
    if not effects.scores or not len(effects.effect):
        empty("The sample has no pair with a finite effect and finite scores.")
        return
    metric = st.selectbox("Metric", list(effects.scores), format_func=brief, key="ui_val_metric")
    shown = min(len(effects.effect), MOST_POINTS)
    most = "" if shown == len(effects.effect) else f", those with the largest |effect| of {len(effects.effect):,}"
    st.caption(f"{shown:,} sampled pairs{most}. Click a point to open the neuron.")
    chart(ctx, score_against_effect(effects, metric), "val_effects", opens=View.NEURON)


_SINGLE = (
    "Correlation of the scores with the effects of ablating single neurons. The bars are 95 % intervals of the value "
    "for all pairs; there are none where all pairs were measured. Intervals that overlap do not decide which ranking "
    "is better: the comparison above is paired."
)
_SETS = (
    "CMD of each ranking: area between its faithfulness curve and 1. The grey lines are CMD with references from "
    "resampled prompts."
)
_FAITHFULNESS = (
    "Share of m(M) - m(∅) that remains when every neuron except the first k of the ranking is ablated to the "
    "reference. Grey: mean and 90 % interval of random sets."
)
_COMPLETENESS = "Share of m(M) - m(∅) that remains when the first k are ablated; 0 is complete."
_EFFECTS = (
    "One point per ablated (neuron, position) pair. The first pairs of every ranking are all measured; a larger point "
    "is from a part of the ranking that was sampled, and stands for more pairs. On the dotted line the score is the "
    "effect."
)
