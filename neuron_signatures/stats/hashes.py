"""A hash of whole numbers, by which items are chosen without a random stream: the choice of one needs no other."""

from __future__ import annotations

import numpy as np
from jaxtyping import Integer, UInt64


def mixed(numbers: Integer[np.ndarray, " n"], seed: int, salt: int) -> UInt64[np.ndarray, " n"]:
    """64 well-mixed bits per number; other seeds and salts give independent ones.

    The finalizer of SplitMix64 (Steele, Lea and Flood 2014), applied to the number, the seed and the salt in turn.
    """
    with np.errstate(over="ignore"):
        state = np.full(len(numbers), 0x9E3779B97F4A7C15, dtype=np.uint64)
        for value in (np.uint64(salt), np.uint64(seed % (1 << 64)), numbers.astype(np.uint64)):
            state = _finalized(state + value * np.uint64(0x9E3779B97F4A7C15))
    return state


def _finalized(x: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: np.ndarray = x ^ (x >> np.uint64(31))
    return found
