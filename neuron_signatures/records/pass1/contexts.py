"""Hashes of the tokens around a position, by which repeated texts are recognised."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int32, Int64, Integer

from neuron_signatures.records.corpus.scattered import Nearby, nearby_tokens
from neuron_signatures.runs.records.corpus import Corpus

SPAN = 8
"""Tokens before and after the position."""
_FACTORS = np.random.default_rng(20240807).integers(-(1 << 62), 1 << 62, 2 * SPAN + 1, dtype=np.int64) * 2 + 1
_ABSENT = -1


def context_hashes(tokens: Integer[np.ndarray, "window pos"]) -> Int64[np.ndarray, "window pos"]:
    """Hash of the tokens within `SPAN` of each position, and of how many there are on its left and right.

    `tokens` is padded with -1 after the end of a window. Equal contexts have equal hashes; two of 10,000 different ones
    are equal with a probability of 1e-12 (a linear hash of 64 bits with odd random factors).
    """
    padded = np.pad(tokens.astype(np.int64), ((0, 0), (SPAN, SPAN)), constant_values=_ABSENT) + 2
    found = np.zeros(tokens.shape, dtype=np.int64)
    for offset, factor in enumerate(_FACTORS):
        found += padded[:, offset : offset + tokens.shape[1]] * factor  # wraps
    return found


def entry_contexts(
    corpus: Corpus, window: Integer[np.ndarray, " entry"], pos: Integer[np.ndarray, " entry"]
) -> Int64[np.ndarray, " entry"]:
    """`context_hashes` at single positions of windows, which must be there."""
    found = np.empty(len(window), dtype=np.int64)
    for part in nearby_tokens(corpus, window, pos, SPAN):
        before = pos[part.members].astype(np.int32)
        found[part.members] = _hashes(part, before, corpus.window_length[part.window] - 1 - before)
    return found


def _hashes(
    part: Nearby, before: Int32[np.ndarray, " entry"], after: Int32[np.ndarray, " entry"]
) -> Int64[np.ndarray, " entry"]:
    """`before` and `after` are the tokens of the window on both sides of each position."""
    found = np.zeros(len(before), dtype=np.int64)
    for offset, factor in zip(range(-SPAN, SPAN + 1), _FACTORS, strict=True):
        ids = part.tokens.take(part.at + offset, mode="clip").astype(np.int64)
        ids[(before < -offset) if offset < 0 else (after < offset)] = _ABSENT
        found += (ids + 2) * factor  # wraps
    return found
