"""Hashes of the tokens around a position, by which repeated texts are recognised."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, Integer

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
