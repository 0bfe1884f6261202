"""Rank tests of many columns against scipy, one column at a time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from neuron_signatures.stats.ranks import column_ranks, mann_whitney, signed_rank, smallest_p, u_counts, w_counts


def columns(n: int, *, ties: bool, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((n, 7)).astype(np.float32)
    return np.round(values * 2) / 2 if ties else values


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_equal_scipy(ties):
    values = columns(23, ties=ties)
    ranks = column_ranks(values)
    assert np.array_equal(ranks.rank, stats.rankdata(values, axis=0))
    counts = [np.unique(c, return_counts=True)[1] for c in values.T]
    assert ranks.ties.tolist() == [float((k**3 - k).sum()) for k in counts]


def permuted_p(own: np.ndarray, n_a: int) -> float:
    """The exact p-value of the rank sum by counting every labelling."""
    rank = stats.rankdata(own)
    sums = [rank[list(c)].sum() for c in itertools.combinations(range(len(own)), n_a)]
    low, high = np.mean([s <= sums[0] for s in sums]), np.mean([s >= sums[0] for s in sums])
    return min(2 * min(low, high), 1)


@pytest.mark.parametrize(("n_a", "n_b"), [(2, 3), (8, 9), (5, 60), (40, 70)])
@pytest.mark.parametrize("ties", [False, True])
def test_mann_whitney_equals_scipy(n_a, n_b, ties):
    values = columns(n_a + n_b, ties=ties)
    rng = np.random.default_rng(1)
    in_a = np.stack([rng.permutation(np.arange(n_a + n_b) < n_a) for _ in range(3)])
    found = mann_whitney(column_ranks(values), in_a)
    for row, labels in enumerate(in_a):
        for c, own in enumerate(values.T):
            tied = len(set(own)) < len(own)
            method = "exact" if not tied and n_a < 40 else "asymptotic"
            expected = stats.mannwhitneyu(own[labels], own[~labels], method=method)
            assert found.auroc[row, c] == pytest.approx(expected.statistic / (n_a * n_b))
            if not tied or n_a == 40:
                assert found.p[row, c] == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(("n_a", "n_b"), [(2, 3), (5, 6), (3, 9), (9, 3), (2, 100)])
def test_mann_whitney_of_few_units_with_ties_counts_every_labelling(n_a, n_b):
    values = columns(n_a + n_b, ties=True)
    values[:, 0] = np.arange(n_a + n_b) // 2  # a perfect separation, or nearly
    values = values[:, :1] if n_b == 100 else values
    found = mann_whitney(column_ranks(values), np.arange(n_a + n_b)[None] < n_a).p[0]
    assert found == pytest.approx([permuted_p(own, n_a) for own in values.T])


def flipped_p(own: np.ndarray) -> float:
    """The exact p-value of the positive rank sum by counting every pattern of signs."""
    rank = stats.rankdata(np.abs(own[own != 0]))
    observed = rank[own[own != 0] > 0].sum()
    sums = [rank[np.array(s, bool)].sum() for s in itertools.product([0, 1], repeat=len(rank))]
    return min(2 * min(np.mean([s <= observed for s in sums]), np.mean([s >= observed for s in sums])), 1)


@pytest.mark.parametrize("n", [3, 12, 40, 80])
@pytest.mark.parametrize("ties", [False, True])
def test_signed_rank_equals_scipy(n, ties):
    values = columns(n, ties=ties)
    signs = np.array([np.ones(n), np.where(np.arange(n) % 3, 1, -1)])
    found = signed_rank(values, signs)
    for row, s in enumerate(signs):
        for c in range(values.shape[1]):
            own = values[:, c] * s
            assert found.auroc[row, c] == pytest.approx(((own > 0) + (own == 0) / 2).mean())
            if ties and n == 40:
                continue  # 2^40 patterns of signs
            if ties and n < 40:
                expected = flipped_p(own)
            else:
                method = "exact" if not ties and n < 62 else "asymptotic"
                expected = stats.wilcoxon(own, method=method, correction=True).pvalue
            assert found.p[row, c] == pytest.approx(expected)


def test_equal_values_are_no_evidence():
    same = np.ones((6, 1), np.float32)
    found = mann_whitney(column_ranks(same), np.arange(6)[None] < 3)
    assert (found.p[0, 0], found.auroc[0, 0]) == (1, 0.5)
    paired = signed_rank(np.zeros((6, 1), np.float32), np.ones((1, 6)))
    assert (paired.p[0, 0], paired.auroc[0, 0]) == (1, 0.5)


def test_null_distributions_count_every_labelling():
    assert u_counts(2, 2).tolist() == [1, 1, 2, 1, 1]
    assert w_counts(3).tolist() == [1, 1, 1, 2, 1, 1, 1]
    assert u_counts(7, 5).sum() == math.comb(12, 5)
    assert smallest_p(3, 3) == pytest.approx(2 / 20)
    assert smallest_p(5, None) == pytest.approx(2 / 32)
