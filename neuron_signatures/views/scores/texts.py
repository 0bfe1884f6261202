"""Scores in words and short numbers."""

from __future__ import annotations

from neuron_signatures.runs.scores.table import ScoreRow
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.explanations.texts import status_words

FOR_CHOOSING = "for choosing, not a score"
"""What is said of values on the part `select`."""
_WHY = {
    "constant_truth": "the neuron has the same activation everywhere",
    "constant_prediction": "the prediction is the same everywhere",
    "too_few_examples": "too few examples",
    "not_simulated": "the scorer cannot predict from this text",
    "no_windows": "no window has a valid prediction",
}


def undefined_in_words(reason: str) -> str:
    """Why a score has no value; a reason of a later version as it is, escaped."""
    return _WHY.get(reason) or status_words(brief(reason)) or "undefined"


def short_number(value: float | None, *, sign: bool = False) -> str:
    """Two decimals without the zero before the point, such as `.41` or `-.05`; `-` if it is None.

    A value that is rounded to zero keeps its sign: `-.00` is below zero.
    """
    if value is None:
        return "-"
    text = f"{value:{'+' if sign else ''}.2f}"
    if value == 0:
        return ".00"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def interval_text(low: float | None, high: float | None) -> str:
    """Such as `[.33, .48]`; empty without an interval."""
    return "" if low is None or high is None else f"[{short_number(low)}, {short_number(high)}]"


def null_text(row: ScoreRow) -> str:
    """The null beside a score, such as `null .03 ± .05 (120 draws)`: its mean and standard deviation."""
    if row.null_best is None:
        return "no null" if not row.null_n else f"null undefined ({_draws(row.null_n)})"
    spread = "" if row.null_sd is None else f" ± {short_number(row.null_sd)}"
    where = " of all layers" if row.null_from == "all layers" else ""
    return f"null {short_number(row.null_best)}{spread} ({_draws(row.null_n)}{where})"


def score_sentence(row: ScoreRow) -> str:
    """A score on one line, escaped: value, interval, null, lift, coverage and n, or why there is none."""
    if row.status != "ok":
        return f"not scored: {status_words(row.status)}"
    name = brief(row.score) or "no score"
    start = name if row.split == "report" else f"{name} ({FOR_CHOOSING})"
    coverage = "" if row.coverage is None or row.coverage == 1 else f"coverage {row.coverage:.0%}"
    if row.value is None:
        parts = [f"{start} undefined: {undefined_in_words(row.undefined)}", coverage, _n_text(row)]
        return ", ".join(filter(None, parts))
    value = " ".join(filter(None, (start, short_number(row.value), interval_text(row.ci_low, row.ci_high))))
    lift = "" if row.lift is None else f"lift {short_number(row.lift)}"
    return ", ".join(filter(None, (value, null_text(row), lift, coverage, _n_text(row))))


def _n_text(row: ScoreRow) -> str:
    positive = "" if row.n_positive is None else f" ({row.n_positive:,} active)"
    return f"n {row.n:,}{positive}"


def _draws(n: int) -> str:
    return "1 draw" if n == 1 else f"{n:,} draws"
