"""Cuts the tokens of a document into windows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neuron_signatures.records.corpus.settings import CorpusSettings


class Windows(NamedTuple):
    """Windows of one document: first token, number of tokens, and the first token that counts, per window."""

    start: np.ndarray
    length: np.ndarray
    counted_from: np.ndarray

    @property
    def n_counted(self) -> int:
        return int((self.length - self.counted_from).sum())


def count_windows(n_tokens: int, settings: CorpusSettings) -> int:
    """The number of windows that `cut_windows` makes."""
    first = settings.first_counted
    overlap = max(settings.text_length - settings.step, first)
    if first >= min(settings.text_length, n_tokens) or overlap >= settings.text_length:
        return int(first < min(settings.text_length, n_tokens))
    return max(1, -(-(n_tokens - overlap) // settings.step))


def cut_windows(n_tokens: int, settings: CorpusSettings) -> Windows:
    """Windows of a document of `n_tokens` text tokens; those without a counted position are left out.

    The overlap with the previous window is context and does not count again. Every window after the first has the same
    overlap, so only a short last one can be left out.
    """
    start = np.arange(0, n_tokens, settings.step, dtype=np.int64)
    length = np.minimum(settings.text_length, n_tokens - start).astype(np.int32)
    overlap = settings.text_length - settings.step
    counted_from = np.where(start > 0, max(overlap, settings.first_counted), settings.first_counted).astype(np.int32)
    keep = counted_from < length
    return Windows(start[keep], length[keep], counted_from[keep])


def tokens_of_windows(n_tokens: int, max_windows: int, settings: CorpusSettings) -> int:
    """Tokens of a document to which it has to be cut to have at most `max_windows` windows."""
    return min(n_tokens, (max_windows - 1) * settings.step + settings.text_length) if max_windows > 0 else 0
