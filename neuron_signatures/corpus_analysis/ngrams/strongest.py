"""The neurons of each n-gram and the n-grams of each neuron with the largest effects.

A longer n-gram is listed for a neuron (or cluster) only if it adds something: its effect must exceed that of each of
its suffixes by `MARGIN` and two standard errors (2/√count) of a mean of values with a standard deviation of 1. So
" of Austin" is not listed beside " Austin" unless the neuron is more active there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from neuron_signatures.corpus_analysis.ngrams.index import LONGEST, NgramIndex

MARGIN: Final = 0.25
_AT_ONCE: Final = 1 << 24
"""Values that are sorted together: 64 MB."""


class Picks(NamedTuple):
    """Chosen cells of effects; `rank` counts from 0 in the row or column that they were chosen for."""

    row: Int64[np.ndarray, " pick"]
    column: Int64[np.ndarray, " pick"]
    rank: Int64[np.ndarray, " pick"]
    effect: Float32[np.ndarray, " pick"]


def of_ngrams(effect: Float[Tensor, "ngram neuron"], top: int) -> Picks:
    """Per n-gram the `top` neurons with the largest |effect|, ties by neuron."""
    picks = []
    for rows in _blocks(effect.shape[0], effect.shape[1]):
        block = effect[rows]
        size = torch.nan_to_num(block.abs(), nan=-1.0)
        best, column = _top(size, top)
        value = torch.gather(block, 1, column)
        picks.append(_picks(np.arange(rows.start, rows.stop), best, column, value))
    return _joined(picks)


def of_columns(effect: Float[Tensor, "ngram column"], index: NgramIndex, count: Int64[np.ndarray, " ngram"], top: int,
               *, sign: int) -> Picks:  # fmt: skip
    """Per column (a neuron or cluster) the `top` n-grams with the largest effect of a sign that add something to their
    suffixes; ties by n-gram."""
    picks = []
    margin = torch.from_numpy((MARGIN + 2 / np.sqrt(np.maximum(count, 1))).astype(np.float32))
    for columns in _blocks(effect.shape[1], effect.shape[0]):
        block = sign * effect[:, columns]
        adds = _adds(block, index, margin)
        size = torch.nan_to_num(torch.where(adds & (block > 0), block, -1.0), nan=-1.0).T
        best, row = _top(size, top)
        found = _picks(np.arange(columns.start, columns.stop), best, row, sign * best)
        picks.append(found._replace(row=found.column, column=found.row))
    return _joined(picks)


def _adds(
    block: Float[Tensor, "ngram column"], index: NgramIndex, margin: Float[Tensor, " ngram"]
) -> Bool[Tensor, "ngram column"]:  # fmt: skip
    """Whether an n-gram has more than each of its suffixes. A suffix without a value is no obstacle."""
    found = torch.ones(block.shape, dtype=torch.bool)
    at = index.suffix.copy()
    for _ in range(LONGEST - 1):
        own = np.flatnonzero(at >= 0)
        i = torch.from_numpy(own)
        base = torch.nan_to_num(block[torch.from_numpy(at[own])], nan=-torch.inf)
        found[i] &= block[i] >= base + margin[i][:, None]
        at[own] = index.suffix[at[own]]
    return found


def _top(size: Float[Tensor, "row column"], top: int) -> tuple[Tensor, Tensor]:
    """Largest values of each row with their columns; equal ones are ordered by column."""
    best, column = torch.topk(size, min(top, size.shape[1]), dim=1)
    column, order = torch.sort(column, dim=1)
    best, again = torch.sort(torch.gather(best, 1, order), dim=1, descending=True, stable=True)
    return best, torch.gather(column, 1, again)


def _picks(rows: np.ndarray, best: Tensor, column: Tensor, value: Tensor) -> Picks:
    rank = np.broadcast_to(np.arange(best.shape[1]), best.shape)
    there = best.numpy() > 0
    every = np.broadcast_to(rows[:, None], best.shape)
    return Picks(every[there], column.numpy()[there], rank[there], value.numpy()[there])


def _joined(picks: list[Picks]) -> Picks:
    none = np.empty(0, np.int64)
    empty = Picks(none, none, none, np.empty(0, np.float32))
    return Picks(*(np.concatenate(arrays) for arrays in zip(empty, *picks, strict=True)))


def _blocks(n: int, width: int) -> Iterator[slice]:
    step = max(1, _AT_ONCE // max(1, width))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
