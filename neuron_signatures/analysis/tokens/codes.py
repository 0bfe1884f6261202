"""Integer codes for the tokens of a run, so that tables of many neurons are computed with arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int32, Integer, Shaped

from neuron_signatures.runs.tokens import encodable

_FEW_VALUES = 32  # up to this many distinct values, counting each one is faster than sorting


class Modes(NamedTuple):
    """The most frequent value over prompts (ties: the smallest), its count, and the number of distinct values.

    If no prompt has a value, `value` is -1 and the counts are 0.
    """

    value: Int32[np.ndarray, " neuron"]
    times: Int32[np.ndarray, " neuron"]
    n_distinct: Int32[np.ndarray, " neuron"]


def modes(values: Integer[np.ndarray, "prompt neuron"]) -> Modes:
    """Modes over prompts. A negative value means none in that prompt. Small integer types are faster."""
    largest = int(values.max(initial=-1))
    if largest < _FEW_VALUES:
        return _modes_by_counting(values, largest)
    # numpy sorts the last axis of contiguous memory several times faster
    ranked = np.sort(np.ascontiguousarray(values.T), axis=1)
    return _modes_of_sorted(np.ascontiguousarray(ranked.T))


def _modes_by_counting(values: Integer[np.ndarray, "prompt neuron"], largest: int) -> Modes:
    n_prompts, n = values.shape
    mode, best, n_distinct = np.full(n, -1, np.int32), *(np.zeros(n, np.min_scalar_type(n_prompts)) for _ in range(2))
    for value in range(largest + 1):
        times = (values == value).view(np.uint8).sum(axis=0, dtype=best.dtype)
        n_distinct += (times > 0).view(np.uint8)
        np.copyto(mode, np.int32(value), where=times > best)
        np.maximum(best, times, out=best)
    return Modes(mode, best.astype(np.int32), n_distinct.astype(np.int32))


def _modes_of_sorted(values: Integer[np.ndarray, "prompt neuron"]) -> Modes:
    """`modes` of values that are sorted along prompts: a mode is the first of the longest runs of equal values."""
    n_prompts, n = values.shape
    mode, before = np.full(n, -1, values.dtype), np.full(n, -1, values.dtype)
    best, run, n_distinct = (np.zeros(n, np.min_scalar_type(n_prompts)) for _ in range(3))
    gaps = bool((values[0] < 0).any())
    for row in values:
        same = (row == before).view(np.uint8)
        run *= same
        n_distinct += 1
        n_distinct -= same
        run += (row >= 0).view(np.uint8) if gaps else 1
        longer = run > best
        np.copyto(mode, row, where=longer)
        np.maximum(best, run, out=best)
        before = row
    return Modes(*(a.astype(np.int32) for a in (mode, best, n_distinct)))


def small_int(largest: int) -> type[np.int16] | type[np.int32]:
    """The smaller of int16 and int32 that can hold `largest`; large arrays are faster in it."""
    return np.int16 if largest <= np.iinfo(np.int16).max else np.int32


def ordered_codes(values: Iterable[int]) -> dict[int, int]:
    """A code for each distinct value, in ascending order of the values."""
    return {v: i for i, v in enumerate(sorted(set(values)))}


def text_column(codes: Integer[np.ndarray, " row"], texts: Sequence[str]) -> pd.api.extensions.ExtensionArray:
    """The text of each code as a pandas string array; missing for -1."""
    return pd.array([encodable(t) for t in texts], dtype="str").take(codes, allow_fill=True)


def int_column(values: Integer[np.ndarray, " row"], *, missing: Shaped[np.ndarray, " row"]) -> pd.arrays.IntegerArray:
    """A nullable column of integers."""
    return pd.arrays.IntegerArray(np.ascontiguousarray(values), np.ascontiguousarray(missing))
