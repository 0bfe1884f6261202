"""Tables of a validation, with help texts for the columns."""

from __future__ import annotations

import pandas as pd

from neuron_signatures.runs.result_records import ValidationRecord
from neuron_signatures.runs.tokens import brief

METRIC_HELP = {
    "pearson": "Correlation of the scores with the effects of ablating single neurons.",
    "pearson 95 %": "95 % interval of the value for all (neuron, position) pairs, from the sample.",
    "spearman": "The same correlation, of ranks.",
    "spearman 95 %": "95 % interval of the value for all pairs.",
    "CPR": "Area under the faithfulness curve; higher is better.",
    "CMD": "Area between the curve and 1; lower is better.",
    "CMD spread": "Standard deviation of CMD over references from resampled prompts.",
    "best": "The best ranking for single neurons and for sets, if it is separated from the next. In files of earlier "
    "versions, the highest Spearman correlation, and the least CMD of the rankings that beat random sets (p ≤ 0.05), "
    "separated or not. Ablation, the truth itself, takes part in neither.",
}
CONTROL_HELP = {
    "p": "One-sided p-value. Random sets are drawn until 10 are at least as faithful as the ranking's set: p = 10 / "
    "sets drawn. If that does not happen, p = (as faithful + 1) / (sets drawn + 1). (Besag and Clifford 1991)",
    "sets drawn": "Number of random sets. It is small where a ranking is no better than chance.",
    "as faithful": "Random sets that are at least as faithful as the ranking's set.",
    "random spread": "Standard deviation of the random sets.",
    "z": "Distance from the random mean in standard deviations of the random sets.",
    "random 5 %": "5th percentile of the random sets.",
}
_INTERVALS = ["pearson low", "pearson high", "spearman low", "spearman high"]


def metric_frame(v: ValidationRecord) -> pd.DataFrame:
    """One row per metric, without columns that this record does not have."""
    frame = pd.DataFrame(
        {
            "metric": [brief(m.metric) for m in v.metrics],
            "best": [
                " and ".join(n for n, w in (("single", v.winner_single), ("sets", v.winner_sets)) if w == m.metric)
                for m in v.metrics
            ],
            "pearson": [m.pearson for m in v.metrics],
            "pearson low": [m.pearson_low for m in v.metrics],
            "pearson high": [m.pearson_high for m in v.metrics],
            "spearman": [m.spearman for m in v.metrics],
            "spearman low": [m.spearman_low for m in v.metrics],
            "spearman high": [m.spearman_high for m in v.metrics],
            "CPR": [m.cpr for m in v.metrics],
            "CMD": [m.cmd for m in v.metrics],
            "CMD spread": [m.cmd_spread for m in v.metrics],
            f"k for {v.kept_share:.0%}": pd.array([m.smallest_k for m in v.metrics], dtype="Int64"),
        }
    )
    return _without_empty(frame, (*_INTERVALS, "CMD spread"))


def with_intervals(frame: pd.DataFrame) -> pd.DataFrame:
    """A `metric_frame` with one column of text for the two ends of an interval, for display."""
    for what in ("pearson", "spearman"):
        ends = [f"{what} low", f"{what} high"]
        if not set(ends) <= set(frame):
            continue
        text = [_interval(low, high) for low, high in zip(*(frame[e] for e in ends), strict=True)]
        at = frame.columns.get_loc(ends[0])
        frame = frame.drop(columns=ends)
        frame.insert(at, f"{what} 95 %", text)
    return frame


def control_frame(v: ValidationRecord) -> pd.DataFrame:
    """One row per set that is compared with random sets."""
    pairs = [(m.metric, c) for m in v.metrics for c in m.controls]
    frame = pd.DataFrame(
        {
            "metric": [brief(name) for name, _ in pairs],
            "k": [c.k for _, c in pairs],
            "faithfulness": [c.observed for _, c in pairs],
            "random mean": [c.random_mean for _, c in pairs],
            "random spread": [c.random_std for _, c in pairs],
            "random 5 %": [c.low for _, c in pairs],
            "random 95 %": [c.high for _, c in pairs],
            "z": [c.z for _, c in pairs],
            "p": [c.p for _, c in pairs],
            "sets drawn": [c.n_random for _, c in pairs],
            "as faithful": pd.array([c.exceeded for _, c in pairs], dtype="Int64"),
        }
    )
    return _without_empty(frame, ("as faithful",))


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) or pd.isna(high) else f"{low:.3f} to {high:.3f}"


def _without_empty(frame: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    return frame.drop(columns=[c for c in names if frame[c].isna().all()])
