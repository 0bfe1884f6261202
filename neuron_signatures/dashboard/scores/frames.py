"""Scores as tables: those of one explanation, the scored sets, and explanations by score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from neuron_signatures.runs.scores.reader import ScoredSet
from neuron_signatures.runs.scores.summary import Summary
from neuron_signatures.runs.scores.table import BESIDE, ScoreRow
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.explanations.texts import status_words
from neuron_signatures.views.scores.over_neurons import counts_in_words
from neuron_signatures.views.scores.shown import CONTROLS, ShownScore
from neuron_signatures.views.scores.texts import FOR_CHOOSING, undefined_in_words

SCORE_HELP = {
    "score": "Its name, and after the slash the windows that it is measured on.",
    "value": "Empty where it is undefined; the last column says why.",
    "low": "Lower end of the 95 % interval over documents.",
    "high": "Upper end of the 95 % interval over documents.",
    "null": "The mean of what explanations of other neurons score on neurons of this layer.",
    "null sd": "Standard deviation of these draws.",
    "draws": "Draws of the null, also undefined ones.",
    "lift": "Value minus the mean of the null.",
    "p": "(1 + draws at least as good) / (1 + draws).",
    "n": "Positions, windows or sentences in the score.",
    "active": "Of them: those at which the neuron is active.",
    "coverage": "Share of the requests with a valid answer; failed ones are in no score.",
    "shuffled": "Control: the words of the explanation in random order.",
    "empty": "Control: no explanation.",
    "text": 'Control: the word "text" as the explanation.',
    "constant": "Control: the same prediction everywhere.",
    "lookup": "Baseline: the look-up rule of the neuron.",
    "ceiling": "The activations of the neuron itself as the prediction: the best possible.",
    "note": "Why there is no value, or what else to know.",
}
SET_HELP = {
    "scored set": "Set of explanations, scorer and its model. Click a cell of the row to show it below.",
    "state": "Logs that are not finished may still grow; their numbers are of what is there.",
    "mean": "Over poles of neurons with a value; current explanations only.",
    "low": "Lower end of the 95 % interval of the mean, over neurons.",
    "high": "Upper end of the 95 % interval of the mean, over neurons.",
    "null": "Mean of the nulls of these poles: explanations of other neurons.",
    "lift": "Mean of value minus null.",
    "above null": "Share of the poles whose value is above the mean of the null.",
    "p ≤ .05": "Share of the poles whose value is above nearly all draws of the null; .05 is what chance would give.",
    "poles": "Poles with a value.",
    "undefined": "Poles without a value, by reason; they are in no mean.",
    "failed": "Poles that could not be scored, by status; they are in no mean.",
    "coverage": "Mean share of the requests with a valid answer.",
    "lookup": "Mean of the baseline: the look-up rules of these poles.",
    "ceiling": "Mean of the best possible value.",
}
ROW_HELP = {
    "neuron": "Click a cell of the row to open the neuron. + or - is the pole.",
    "value": "The score.",
    "lift": "Value minus the mean of the null.",
    "explanation": "The text that was scored.",
}
THREE = "%.3f"
_NUMBERS = ("value", "low", "high", "null", "null sd", "lift", "coverage", "p", *BESIDE)
FORMATS = dict.fromkeys((*_NUMBERS, "mean", "above null", "p ≤ .05"), THREE)


class SetLine(NamedTuple):
    """A scored set with the summary of its first score; None for values on `select`, and without rows."""

    info: ScoredSet
    summary: Summary | None
    score: str


def score_frame(scores: Sequence[ShownScore]) -> pd.DataFrame:
    """Scores of explanations, for export; without columns that are blank in every row."""
    rows = [s.row for s in scores]
    frame = pd.DataFrame({
        "neuron": [r.at.label for r in rows],
        "explanation": [r.explanation_id for r in rows],
        "set": [r.set for r in rows],
        "score": [r.score or "-" for r in rows],
        "scorer": [brief(s.scorer) for s in scores],
        "value": _floats([r.value for r in rows]),
        "low": _floats([r.ci_low for r in rows]),
        "high": _floats([r.ci_high for r in rows]),
        "null": _floats([r.null_best for r in rows]),
        "null sd": _floats([r.null_sd for r in rows]),
        "draws": [r.null_n for r in rows],
        "lift": _floats([r.lift for r in rows]),
        "p": _floats([r.null_p for r in rows]),
        "n": [r.n for r in rows],
        "active": pd.array([r.n_positive for r in rows], dtype="Int64"),
        "coverage": _floats([r.coverage for r in rows]),
        **{str(c): _floats([getattr(r, c) for r in rows]) for c in CONTROLS},
        "note": [row_note(s) for s in scores],
    })  # fmt: skip
    return _without_blank(frame, keep=("neuron", "explanation", "set", "score", "scorer", "value", "n"))


def row_note(s: ShownScore) -> str:
    """What is to know about a score beside its numbers, escaped; empty if nothing is."""
    r = s.row
    notes = [
        f"not scored: {status_words(r.status)}" if s.failed else "",
        undefined_in_words(r.undefined) if r.value is None and not s.failed else "",
        "" if s.is_score else FOR_CHOOSING,
        "null of all layers" if r.null_from == "all layers" else "",
        "" if s.is_finished else "not finished",
    ]
    return "; ".join(filter(None, notes))


def set_frame(lines: Sequence[SetLine]) -> pd.DataFrame:
    """One row per scored set, with the summary of its first score."""
    found = [line.summary for line in lines]
    frame = pd.DataFrame({
        "scored set": [line.info.name for line in lines],
        "state": [_state(line.info) for line in lines],
        "score": [line.score or "-" for line in lines],
        "mean": _numbers(found, "mean"),
        "low": _numbers(found, "low"),
        "high": _numbers(found, "high"),
        "null": _numbers(found, "null_best"),
        "lift": _numbers(found, "lift"),
        "above null": _numbers(found, "share_above_null"),
        "p ≤ .05": _numbers(found, "share_significant"),
        "poles": pd.array([None if s is None else s.n for s in found], dtype="Int64"),
        "undefined": ["" if s is None else counts_in_words(list(s.undefined.items()), undefined=True) for s in found],
        "failed": ["" if s is None else counts_in_words(list(s.failed.items())) for s in found],
        "coverage": _numbers(found, "coverage"),
        "lookup": _numbers(found, "lookup"),
        "ceiling": _numbers(found, "ceiling"),
    })  # fmt: skip
    return _without_blank(frame, keep=("scored set", "state", "score", "mean", "poles"))


def row_frame(rows: Sequence[ScoreRow], texts: Sequence[str]) -> pd.DataFrame:
    """Explanations by score, with what is said of their pole."""
    frame = pd.DataFrame({
        "neuron": [r.at.label for r in rows],
        "value": _floats([r.value for r in rows]),
        "low": _floats([r.ci_low for r in rows]),
        "high": _floats([r.ci_high for r in rows]),
        "null": _floats([r.null_best for r in rows]),
        "lift": _floats([r.lift for r in rows]),
        "p": _floats([r.null_p for r in rows]),
        "n": [r.n for r in rows],
        "active": pd.array([r.n_positive for r in rows], dtype="Int64"),
        "explanation": list(texts),
    })  # fmt: skip
    return _without_blank(frame, keep=("neuron", "value"))


def _state(info: ScoredSet) -> str:
    state = "finished" if info.finished else "not finished"
    return state if info.split == "report" else FOR_CHOOSING if info.finished else f"{FOR_CHOOSING}; {state}"


def _numbers(found: Sequence[Summary | None], name: str) -> pd.Series[float]:
    return _floats([None if s is None else getattr(s, name) for s in found])


def _floats(values: Sequence[float | None]) -> pd.Series[float]:
    return pd.Series([float("nan") if v is None else v for v in values], dtype="float64")


def _without_blank(frame: pd.DataFrame, keep: Sequence[str]) -> pd.DataFrame:
    blank = [
        c for c in frame if c not in keep and (frame[c].isna() | (frame[c].astype(str).isin(["", "<NA>"]))).all()
    ]  # fmt: skip
    return frame.drop(columns=blank)
