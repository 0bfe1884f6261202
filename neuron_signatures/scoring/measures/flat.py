"""Truth and prediction at all positions of some windows, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64


@dataclass(frozen=True, eq=False)
class Flat:
    """Predictions of positions (or of windows). Documents are numbered from 0, without gaps."""

    truth: Float64[np.ndarray, " n"]
    active: Bool[np.ndarray, " n"]
    prediction: Float64[np.ndarray, " n"]
    documents: Int64[np.ndarray, " n"]

    @property
    def n_documents(self) -> int:
        return int(self.documents.max(initial=-1)) + 1


def flat_positions(texts: Sequence[Text], values: Sequence[np.ndarray | None], threshold: float) -> Flat:
    """The counted positions of the windows that have a prediction. A position is active above the threshold and 0."""
    kept = [(text, found) for text, found in zip(texts, values, strict=True) if found is not None]
    truth = _truth(tuple(text for text, _ in kept), threshold)
    every = np.concatenate([_NOTHING, *(found for _, found in kept)])
    return Flat(truth.acts, truth.active, every[truth.counts].astype(np.float64), truth.documents)


def flat_windows(texts: Sequence[Text], values: Float32[np.ndarray, " window"], threshold: float) -> Flat:
    """One value per window, whose truth is its largest counted activation."""
    peaks = np.array([text.peak for text in texts], np.float64)
    numbers = _numbered(np.array([text.document for text in texts], np.int64))
    return Flat(peaks, peaks > max(threshold, 0.0), values.astype(np.float64), numbers)


class _Truth(NamedTuple):
    acts: Float64[np.ndarray, " n"]
    active: Bool[np.ndarray, " n"]
    documents: Int64[np.ndarray, " n"]
    counts: Bool[np.ndarray, " pos"]
    """Of all positions of the windows."""


@lru_cache(maxsize=32)
def _truth(texts: tuple[Text, ...], threshold: float) -> _Truth:
    """Kept for the other explanations that are scored on the same windows."""
    counts = np.concatenate([np.empty(0, bool), *(text.counts for text in texts)])
    acts = np.concatenate([_NOTHING, *(text.acts for text in texts)])[counts].astype(np.float64)
    lengths = [len(text.counts) for text in texts]
    documents = np.repeat(np.array([text.document for text in texts], np.int64), lengths)[counts]
    return _Truth(acts, acts > max(threshold, 0.0), _numbered(documents), counts)


def _numbered(documents: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    return np.unique(documents, return_inverse=True)[1].reshape(-1).astype(np.int64)


_NOTHING = np.empty(0, np.float32)
