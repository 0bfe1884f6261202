"""Validation of rankings on the Ranking view: curves, correlations and random sets."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.ranking.figures import curves
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import VALIDATE, heading, influence_command
from neuron_signatures.dashboard.widgets.elements import chart, empty, facts, show_lines, table
from neuron_signatures.runs.result_records import ValidationRecord
from neuron_signatures.runs.results import list_validations
from neuron_signatures.runs.tokens import brief, escape
from neuron_signatures.views.list_files import target_title


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
    facts([
        ("best for single neurons (Spearman)", found.winner_single or "undecided"),
        ("best for sets (least CMD)", found.winner_sets or "undecided"),
        ("truth", escape(found.truth)),
        ("computed", f"over {found.n_units} neurons, {found.created_at_utc}"),
    ])  # fmt: skip
    show_lines("This result has warnings.", found.warnings)
    left, right = st.columns(2)
    with left:
        st.markdown("#### Faithfulness", help=_FAITHFULNESS)
        chart(ctx, curves(found.metrics, "faithfulness"), "val_faithfulness")
    with right:
        st.markdown("#### Completeness", help=_COMPLETENESS)
        chart(ctx, curves(found.metrics, "completeness"), "val_completeness")
    frame = metric_frame(found)
    table(frame, "val_metrics", help=_METRIC_HELP)
    st.markdown("#### Against random sets", help="Random sets with the same number of neurons from each layer.")
    controls = control_frame(found)
    table(controls, "val_controls", help=_CONTROL_HELP)
    with st.popover("Export"):
        downloads(frame, stem, "val")
        downloads(controls, f"{stem}_random", "val_random")


def metric_frame(v: ValidationRecord) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "metric": [brief(m.metric) for m in v.metrics],
            "best": [
                " and ".join(n for n, w in (("single", v.winner_single), ("sets", v.winner_sets)) if w == m.metric)
                for m in v.metrics
            ],
            "pearson": [m.pearson for m in v.metrics],
            "spearman": [m.spearman for m in v.metrics],
            "CPR": [m.cpr for m in v.metrics],
            "CMD": [m.cmd for m in v.metrics],
            f"smallest k for {v.kept_share:.0%}": pd.array([m.smallest_k for m in v.metrics], dtype="Int64"),
        }
    )


def control_frame(v: ValidationRecord) -> pd.DataFrame:
    pairs = [(m.metric, c) for m in v.metrics for c in m.controls]
    return pd.DataFrame(
        {
            "metric": [brief(name) for name, _ in pairs],
            "k": [c.k for _, c in pairs],
            "faithfulness": [c.observed for _, c in pairs],
            "random mean": [c.random_mean for _, c in pairs],
            "random spread": [c.random_std for _, c in pairs],
            "random 5 %": [c.low for _, c in pairs],
            "random 95 %": [c.high for _, c in pairs],
            "sets": [c.n_random for _, c in pairs],
            "z": [c.z for _, c in pairs],
            "p": [c.p for _, c in pairs],
        }
    )


_FAITHFULNESS = (
    "Share of m(M) - m(∅) that remains when every neuron except the first k of the ranking is ablated to the "
    "reference. Grey: mean and 90 % interval of random sets."
)
_COMPLETENESS = "Share of m(M) - m(∅) that remains when the first k are ablated; 0 is complete."
_METRIC_HELP = {
    "pearson": "Correlation of the scores with the effects of ablating single neurons.",
    "spearman": "The same for ranks.",
    "CPR": "Area under the faithfulness curve; higher is better.",
    "CMD": "Area between the curve and 1; lower is better.",
    "best": "The metric with the highest Spearman correlation, and the one with the least CMD of those that beat "
    "random sets (p ≤ 0.05). Ablation, the truth itself, takes part in neither.",
}
_CONTROL_HELP = {
    "p": "One-sided p-value: share of random sets (plus one) that are at least as faithful as the ranking's set.",
    "random spread": "Standard deviation of the random sets.",
    "z": "Distance from the random mean in standard deviations of the random sets.",
    "random 5 %": "5th percentile of the random sets.",
}
