"""Explanations as tables: the sets with their counts, and the rows of the list."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from neuron_signatures.runs.explanations.names import HUMAN_SET
from neuron_signatures.runs.explanations.shown import SetInfo
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.explanations.table import ExplanationRow
from neuron_signatures.views.explanations.texts import row_text, status_words

MOST_SHOWN = 500
"""Characters of a text in a cell."""
SET_HELP = {
    "state": "A set that is not finished may still grow; people may add to every set.",
    "ok": "Explanations whose request succeeded.",
    "by people": "Explanations that people wrote or edited; they are among those that are ok.",
    "poles": "Poles of neurons with an explanation of any status.",
}
ROW_HELP = {
    "neuron": "Click a cell of the row to open the neuron. + or - is the pole: positive or negative activations.",
    "explanation": "Of a failed request the status and its reason, in brackets.",
    "score": "The value by which the samples were compared to choose one; empty if there was no choice.",
    "state": "current: the one to read for its pole in its set. chosen: by its score.",
    "votes": "People who agree and disagree.",
    "author": "The person, or the model as it answered, or the explainer that needs no model.",
}


def set_frame(sets: Sequence[SetInfo]) -> pd.DataFrame:
    """One row per set; a column for each status that occurs."""
    statuses = ["ok", *sorted({status for s in sets for status in s.counts} - {"ok"})]
    counts = {status_words(status): [s.counts.get(status, 0) for s in sets] for status in statuses}
    return pd.DataFrame(
        {
            "set": [s.name for s in sets],
            "state": [_state(s) for s in sets],
            "explainer": [brief(s.explainer) for s in sets],
            "model": [brief(s.model) for s in sets],
            "poles": [s.n_poles for s in sets],
            **counts,
            "by people": [s.n_by_people for s in sets],
        }
    )


def _state(s: SetInfo) -> str:
    return "by people" if s.name == HUMAN_SET else "finished" if s.finished else "not finished"


def row_frame(rows: Sequence[ExplanationRow]) -> pd.DataFrame:
    """The rows for display, without columns that are blank in every row."""
    frame = pd.DataFrame(
        {
            "neuron": [r.label for r in rows],
            "explanation": [_cut(row_text(r.text, r.status, r.reason)) for r in rows],
            "score": pd.array([r.score for r in rows], dtype="Float64").astype("float64"),
            "state": [_words(r) for r in rows],
            "votes": [" ".join(_votes(r)) for r in rows],
            "author": [brief(r.author) + (" (a person)" if r.is_human else "") for r in rows],
            "set": [r.set + ("" if r.is_finished else " (not finished)") for r in rows],
            "status": [status_words(r.status) for r in rows],
            "explainer": [brief(r.explainer) for r in rows],
            "made": [brief(r.created_at_utc)[:16].replace("T", " ") for r in rows],
        }
    )
    blank = [c for c in ("state", "votes") if not frame[c].astype(bool).any()]
    return frame.drop(columns=blank + (["score"] if frame["score"].isna().all() else []))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"


def _words(r: ExplanationRow) -> str:
    words = [
        ("current", r.is_current), ("chosen", r.is_chosen), ("edit", r.is_edit),
        (f"revision {r.revision}", r.revision > 0 and not r.is_human),
        (f"locked by {brief(r.locked_by or '')}", r.locked_by is not None),
        (f"{r.n_notes} note{'s' if r.n_notes > 1 else ''}", r.n_notes > 0),
    ]  # fmt: skip
    return ", ".join(word for word, holds in words if holds)


def _votes(r: ExplanationRow) -> list[str]:
    return [text for text, n in ((f"+{r.n_up}", r.n_up), (f"-{r.n_down}", r.n_down)) if n]
