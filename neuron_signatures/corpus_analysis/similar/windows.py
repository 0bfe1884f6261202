"""Jaccard index of the strongest windows of two poles, through an inverted index from windows to lists.

A null draw replaces each window of a list by one that is in about as many lists. Windows that are strong for many
neurons at once, such as long ones, make lists alike without any likeness of the neurons.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Integer
from scipy import sparse  # type: ignore[import-untyped]

_AT_ONCE: Final = 1 << 26
"""Pairs of lists in memory."""
_POPULARITY_BIN: Final = 32
"""Windows of like popularity, at least, among which a window is replaced."""
_SHARE: Final = 10
MOST_WINDOWS: Final = 100
FEWEST_WINDOWS: Final = 5


def list_length(n_windows: int, top_k: int) -> int:
    """Windows of each list that are compared: a tenth of the part's windows, from 5 to 100, and no more than are kept.

    Of lists that hold much of a small corpus, any two are alike.
    """
    return min(top_k, max(FEWEST_WINDOWS, min(MOST_WINDOWS, n_windows // _SHARE)))


class WindowIndex:
    """Lists of windows, and the lists that each window is in."""

    def __init__(self, lists: Int64[np.ndarray, "list rank"], n_windows: int) -> None:
        there = lists >= 0
        self.lengths = there.sum(axis=1)
        rows = np.repeat(np.arange(len(lists)), self.lengths)
        ones = np.ones(len(rows), np.float32)
        self._matrix = sparse.csr_array((ones, (rows, lists[there])), shape=(len(lists), n_windows))
        self._by_window = self._matrix.T.tocsr()
        self.popularity = np.diff(self._by_window.indptr)
        """In how many lists each window is."""

    def jaccard(self, lists: Int64[np.ndarray, "row rank"]) -> Iterator[tuple[slice, Float64[np.ndarray, "row list"]]]:
        """Some rows at a time of the Jaccard indices of these lists with all; 0 where one is empty."""
        size = max(1, _AT_ONCE // max(1, len(self.lengths)))
        for start in range(0, len(lists), size):
            some = lists[start : start + size]
            there = some >= 0
            n = there.sum(axis=1)
            rows = np.repeat(np.arange(len(some)), n)
            shape = (len(some), self._matrix.shape[1])
            left = sparse.csr_array((np.ones(len(rows), np.float32), (rows, some[there])), shape=shape)
            common = (left @ self._by_window).toarray().astype(np.float64)
            union = n[:, None] + self.lengths - common
            yield slice(start, start + len(some)), common / np.maximum(union, 1)


class Bins(NamedTuple):
    """Windows in bins of similar popularity."""

    members: list[Int64[np.ndarray, " member"]]
    of: Int64[np.ndarray, " window"]
    """The bin of each window, -1 for windows in no list."""


def popularity_bins(popularity: Integer[np.ndarray, " window"]) -> Bins:
    """Bins of the windows that are in a list; each has at least 32 unless there are fewer."""
    used = np.flatnonzero(popularity > 0)
    order = used[np.argsort(-popularity[used], kind="stable")]
    members = [np.sort(m) for m in np.array_split(order, max(1, len(order) // _POPULARITY_BIN))]
    of = np.full(len(popularity), -1, np.int64)
    for number, windows in enumerate(members):
        of[windows] = number
    return Bins(members, of)


def random_lists(
    windows: Int64[np.ndarray, " rank"], bins: Bins, *, n_draws: int, rng: np.random.Generator
) -> Int64[np.ndarray, "draw rank"]:
    """Lists of different windows with the same number from each bin as `windows`, which must be in the bins."""
    found = []
    for number, n in zip(*np.unique(bins.of[windows], return_counts=True), strict=True):
        members = bins.members[number]
        keys = rng.random((n_draws, len(members)))
        found.append(members[np.argpartition(keys, min(n, len(members) - 1), axis=1)[:, :n]])
    return np.concatenate(found, axis=1)


def null_best(
    index: WindowIndex, lists: Int64[np.ndarray, "row rank"], others: Int64[np.ndarray, "row list"], *, n_draws: int,
    seed: int,
) -> Float64[np.ndarray, "draw row"]:  # fmt: skip
    """The largest Jaccard index of random lists of the same popularity with any list, for each of `lists`.

    `others` are the lists of each row's own neuron, which do not count. NaN for an empty list.
    """
    bins = popularity_bins(index.popularity)
    best = np.full((n_draws, len(lists)), np.nan)
    for row, windows in enumerate(lists):
        own = windows[windows >= 0]
        if not len(own):
            continue
        drawn = random_lists(own, bins, n_draws=n_draws, rng=np.random.default_rng([seed, row]))
        for part, found in index.jaccard(drawn):
            found[:, others[row]] = -1
            best[part, row] = found.max(axis=1)
    return best
