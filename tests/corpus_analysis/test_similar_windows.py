"""Jaccard indices of lists of windows, and their null, against sets."""

from __future__ import annotations

import numpy as np

from neuron_signatures.corpus_analysis.similar.windows import (
    WindowIndex,
    list_length,
    null_best,
    popularity_bins,
    random_lists,
)


def _lists(rng: np.random.Generator, n: int = 30, k: int = 8, n_windows: int = 200) -> np.ndarray:
    lists = np.stack([rng.choice(n_windows, k, replace=False) for _ in range(n)]).astype(np.int64)
    lists[4, 5:] = -1
    lists[5] = -1
    lists[7] = lists[2][::-1]
    return lists


def test_equal_the_indices_of_sets() -> None:
    lists = _lists(np.random.default_rng(0))
    index = WindowIndex(lists, 200)
    (_, found), = index.jaccard(lists)  # fmt: skip
    sets = [set(row[row >= 0].tolist()) for row in lists]
    expected = [[len(a & b) / max(1, len(a | b)) for b in sets] for a in sets]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert found[2, 7] == 1 and (found[5] == 0).all()
    assert index.popularity.sum() == (lists >= 0).sum()


def test_random_lists_have_the_popularity_of_the_list() -> None:
    rng = np.random.default_rng(1)
    popularity = np.concatenate([np.full(64, 50), np.full(64, 3), np.zeros(72)]).astype(np.int64)
    bins = popularity_bins(popularity)
    windows = np.array([1, 5, 9, 60, 70, 100], np.int64)
    drawn = random_lists(windows, bins, n_draws=50, rng=rng)
    assert drawn.shape == (50, 6)
    for row in drawn:
        assert len(set(row.tolist())) == 6 and (row < 64).sum() == 4 and (popularity[row] > 0).all()
    assert len({tuple(sorted(row.tolist())) for row in drawn}) == 50


def test_a_list_that_holds_a_whole_bin_is_drawn_again() -> None:
    bins = popularity_bins(np.full(8, 2))
    drawn = random_lists(np.arange(8), bins, n_draws=3, rng=np.random.default_rng(0))
    assert [sorted(row.tolist()) for row in drawn] == [list(range(8))] * 3


def test_the_null_is_below_a_copy_and_leaves_the_own_lists_out() -> None:
    lists = _lists(np.random.default_rng(2))
    index = WindowIndex(lists, 200)
    others = np.stack([np.arange(30), np.arange(30)], axis=1)
    null = null_best(index, lists[[2, 5]], others[[2, 5]], n_draws=100, seed=0)
    assert np.isnan(null[:, 1]).all()
    assert null[:, 0].max() < 1 and 0 < np.median(null[:, 0]) < 0.5


def test_lists_are_a_tenth_of_the_windows() -> None:
    assert [list_length(n, 100) for n in (20, 200, 5000)] == [5, 20, 100]
    assert list_length(5000, 4) == 4
