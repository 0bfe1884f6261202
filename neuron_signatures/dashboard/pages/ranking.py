"""Ranking view: the rows of a ranked list, and how well rankings agree with real ablations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.ranking.column_help import rank_help
from neuron_signatures.dashboard.ranking.figures import MOST_BARS, Ranks, act_against_score, bars, by_layer, curves
from neuron_signatures.dashboard.shell.list_walk import (
    Filters,
    activations,
    default_list,
    left_out_note,
    n_not_stored,
    passing,
)
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import VALIDATE, heading, influence_command, stage_2
from neuron_signatures.dashboard.shell.sidebar import filters
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, empty, facts, table
from neuron_signatures.runs.result_records import ValidationRecord
from neuron_signatures.runs.results import list_validations
from neuron_signatures.runs.tokens import escape, visible
from neuron_signatures.views.list_files import target_title
from neuron_signatures.views.ranked import ListRef, RankedList

_PARTS = ("Neurons", "Validation")
_DEFAULT_IS = {
    "influence": "The newest influence result is shown.",
    "peaks": "The peaks are shown, because there is no influence result.",
    "signatures": "The signatures are shown, because there is no other list.",
}
_CHARTS = {"per layer": by_layer, "activation against score": act_against_score, "bars": bars}


def render(ctx: PageContext) -> None:
    st.session_state.setdefault("ui_rank_part", _PARTS[0])
    part = st.segmented_control("Part", _PARTS, key="ui_rank_part", label_visibility="collapsed", required=True)
    if part == _PARTS[1]:
        _validations(ctx)
    else:
        _neurons(ctx)


def _neurons(ctx: PageContext) -> None:
    _damaged_lists(ctx)
    ref = ctx.listed
    selected = ref is not None
    ref = ref or default_list(ctx.lists)
    if ref is None:
        empty("No neurons have been ranked yet. To rank them by peaks (no model needed):", stage_2(ctx.run_dir))
        empty("To rank them by influence on a prediction:", influence_command(ctx.run_dir, ctx.prompt.probe_id))
        return
    ranked = cached_reads.ranked(ctx.run_dir, ctx.results_key, ref)
    heading(ref.title)
    _warnings(ranked.warnings)
    with st.expander("How this list was computed"):
        facts(ranked.meta)
    bounds = filters() if selected else Filters()
    rows = passing(ranked, bounds, ctx.run)
    _row_caption(ref, selected, len(rows), len(ranked))
    missing = n_not_stored(ranked, bounds, ctx.run)
    if missing:
        st.caption(left_out_note(missing))
    if not len(rows):
        st.info("No row of a stored neuron passes the filters." if len(ranked) else "The list is empty.")
        return
    if np.isfinite(ranked.score[rows]).any():
        _chart(ctx, ranked, rows)
    else:
        empty("No score is finite, so there is no chart and the order is not meaningful.")
    frame = rank_frame(ranked, rows)
    table(ctx, frame, f"rank_{ref.stem}", help=rank_help(ranked), height=420,
          on_row=lambda i: _open(ctx, ranked, int(rows[i])))  # fmt: skip
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
    st.caption(f"{first}{n} of {of} rows.{why} Click a point or a row to open the neuron.")


def _chart(ctx: PageContext, ranked: RankedList, rows: np.ndarray) -> None:
    names = [n for n in _CHARTS if n != "activation against score" or ranked.ref.kind != "signatures"]
    if st.session_state.get("ui_rank_chart") not in names:
        st.session_state["ui_rank_chart"] = names[0]
    name = st.segmented_control("Chart", names, key="ui_rank_chart", label_visibility="collapsed", required=True)
    if name == "bars" and len(rows) > MOST_BARS:
        st.caption(f"The first {MOST_BARS}.")
    figure = _CHARTS[name](ranks_of(ranked, rows), ranked.score_name)
    chart(ctx, figure, f"rank_chart_{name}", opens=View.NEURON, list=ranked.ref.stem)


def _open(ctx: PageContext, ranked: RankedList, index: int) -> None:
    at = ranked.row(index).at
    ctx.choose(layer=at.layer, neuron=at.neuron, view=View.NEURON, list=ranked.ref.stem, row=index)


def ranks_of(ranked: RankedList, rows: np.ndarray) -> Ranks:
    """The rows as arrays for the figures."""
    tokens = [ranked.row(int(i)).token or "" for i in rows]
    return Ranks(
        ranked.layer[rows], ranked.neuron[rows], np.asarray(rows, np.int64), ranked.score[rows],
        activations(ranked)[rows], tokens,
    )  # fmt: skip


def rank_frame(ranked: RankedList, rows: np.ndarray) -> pd.DataFrame:
    """The rows as a table for display, without columns that the list does not have."""
    lines = [ranked.row(int(i)) for i in rows]
    frame = pd.DataFrame(
        {
            "rank": pd.array([None if r.score is None else r.rank for r in lines], dtype="Int64"),
            "neuron": [r.at.label for r in lines],
            "pole": [r.pole for r in lines],
            ranked.score_name: [r.score for r in lines],
            "token": [visible(r.token or "") for r in lines],
            "activation": [r.act for r in lines],
            "prompt": [escape(r.prompt_id or "") for r in lines],
            "position": pd.array([r.pos for r in lines], dtype="Int64"),
            "note": [visible(r.note) for r in lines],
        }
    )
    frame = frame.astype({ranked.score_name: "float64", "activation": "float64"})
    blank = [c for c in ("pole", "note", "prompt", "token") if not frame[c].astype(bool).any()]
    return frame.drop(columns=blank + [c for c in ("rank", "activation", "position") if frame[c].isna().all()])


def _damaged_lists(ctx: PageContext) -> None:
    damaged: list[ListRef] = [r for r in ctx.lists if r.problem]
    if damaged:
        st.warning("Some results of this run cannot be read.")
        st.code("\n".join(escape(r.problem) for r in damaged[:8]), language=None, wrap_lines=True)


def _warnings(warnings: tuple[str, ...] | list[str]) -> None:
    if warnings:
        st.warning("This result has warnings.")
        st.code("\n".join(escape(w) for w in warnings), language=None, wrap_lines=True)


def _validations(ctx: PageContext) -> None:
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
    facts(_winners(found))
    _warnings(found.warnings)
    left, right = st.columns(2)
    with left:
        st.markdown("#### Faithfulness", help=_FAITHFULNESS)
        chart(ctx, curves(found.metrics, "faithfulness"), "val_faithfulness")
    with right:
        st.markdown("#### Completeness", help=_COMPLETENESS)
        chart(ctx, curves(found.metrics, "completeness"), "val_completeness")
    frame = metric_frame(found)
    table(ctx, frame, "val_metrics", help=_METRIC_HELP)
    st.markdown("#### Against random sets", help="Random sets with the same number of neurons from each layer.")
    controls = control_frame(found)
    table(ctx, controls, "val_controls", help=_CONTROL_HELP)
    with st.popover("Export"):
        downloads(frame, stem, "val")
        downloads(controls, f"{stem}_random", "val_random")


def _winners(v: ValidationRecord) -> list[tuple[str, str]]:
    return [
        ("best for single neurons", v.winner_single or "undecided"),
        ("best for sets", v.winner_sets or "undecided"),
        ("computed", f"over {v.n_units} neurons, {v.created_at_utc}"),
    ]


def metric_frame(v: ValidationRecord) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "metric": [escape(m.metric) for m in v.metrics],
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
            "metric": [escape(name) for name, _ in pairs],
            "k": [c.k for _, c in pairs],
            "faithfulness": [c.observed for _, c in pairs],
            "random mean": [c.random_mean for _, c in pairs],
            "random 5 %": [c.low for _, c in pairs],
            "random 95 %": [c.high for _, c in pairs],
            "sets": [c.n_random for _, c in pairs],
            "p": [c.p for _, c in pairs],
        }
    )


_FAITHFULNESS = (
    "Share of the function that remains when every neuron except the first k of the ranking is ablated. "
    "Grey: mean and 90 % interval of random sets."
)
_COMPLETENESS = "Share of the function that remains when the first k are ablated; 0 is complete."
_METRIC_HELP = {
    "pearson": "Correlation of the scores with the effects of ablating single neurons.",
    "spearman": "The same for ranks.",
    "CPR": "Area under the faithfulness curve; higher is better.",
    "CMD": "Area between the curve and 1; lower is better.",
    "best": "The metric with the best single-neuron correlation, and the one with the best sets.",
}
_CONTROL_HELP = {
    "p": "One-sided p-value: share of random sets (plus one) that are at least as faithful as the ranking's set.",
    "random 5 %": "5th percentile of the random sets.",
}
