"""Hits as tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from neuron_signatures.views.search_run.excerpts import plain, query_pattern
from neuron_signatures.views.search_run.rows import HitRow

MOST_SHOWN = 500
"""Characters of a text in a cell."""
_SEEN = 64
"""Of these, so many are seen at the usual width of the column."""
HELP = {
    "neuron": "Click a cell of the row to open the neuron. + or - is the pole: positive or negative activations.",
    "text": "Of an exemplar, the token with the peak is in brackets.",
    "found in": "An explanation and its set, or an exemplar and its place among the strongest windows of the pole.",
    "activation": "Of an exemplar, at its peak.",
    "token": "· is a space, ⏎ a line break.",
    "rank": "The place of the token among those that the pole writes, from 1.",
    "z": "The write score in standard deviations of the neuron's scores over the vocabulary, from their mean. Write "
    "scores of different layers have different units; z has none, so the hits are in its order.",
    "explanation": "The one to read for the pole, if there is one.",
}


def text_frame(rows: Sequence[HitRow], score: str, query: str) -> pd.DataFrame:
    """Explanations and exemplars; without a column that is empty in every row."""
    pattern = query_pattern(query)
    frame = pd.DataFrame(
        {
            "neuron": [r.label for r in rows],
            "found in": [f"{r.kind}, {r.source}" if r.source else r.kind for r in rows],
            "text": [plain(r.parts(pattern, _SEEN, more=MOST_SHOWN)) for r in rows],
            score: [r.hit.score for r in rows],
            "activation": pd.array([r.hit.value for r in rows], dtype="Float64").astype("float64"),
        }
    )
    return frame.drop(columns="activation") if frame["activation"].isna().all() else frame


def token_frame(rows: Sequence[HitRow], score: str, explained: Sequence[str]) -> pd.DataFrame:
    """Poles that write a token, with what their explanations say; without the latter if there are none."""
    frame = pd.DataFrame(
        {
            "neuron": [r.label for r in rows],
            "token": [r.token() for r in rows],
            "rank": pd.array([r.hit.rank for r in rows], dtype="Int64"),
            score: [r.hit.score for r in rows],
            "z": pd.array([r.hit.z for r in rows], dtype="Float64").astype("float64"),
            "explanation": [_cut(text) for text in explained],
        }
    )
    return frame if any(explained) else frame.drop(columns="explanation")


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"
