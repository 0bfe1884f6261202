"""Neurons matched across indices: permuted copies are found, and the null is that of permuted tokens."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from neuron_signatures.drift.matches import Standardised, correlations, matched, null_of_best


def make(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def match(a: np.ndarray, b: np.ndarray):
    x, y = Standardised.of(a), Standardised.of(b)
    return matched(a, b, x, y, correlations(x, y), np.full(b.shape[1], 0.5))


def test_a_permuted_copy_is_found():
    a = make(80, 20)
    order = np.random.default_rng(1).permutation(20)
    found = match(a, a[:, order])
    assert found["best_neuron"].tolist() == order.tolist() == found["assigned_neuron"].tolist()
    assert (found["best_correlation"] == 1).all() and (found["assigned_correlation"] == 1).all()
    same = [i for i in range(20) if order[i] == i]
    assert found.index[found["same_index_rank"] == 1].tolist() == same


def test_the_assignment_has_the_largest_sum():
    a, b = make(30, 5, 0), make(30, 5, 1)
    table = np.corrcoef(a.T, b.T)[:5, 5:]
    best = max(permutations(range(5)), key=lambda p: sum(table[p[j], j] for j in range(5)))
    found = match(a, b)
    assert found["assigned_neuron"].tolist() == list(best)
    assert found["best_neuron"].tolist() == table.argmax(0).tolist()
    assert found["best_correlation"].to_numpy() == pytest.approx(table.max(0), abs=1e-6)
    ranks = [1 + sum(table[:, j] > table[j, j]) for j in range(5)]
    assert found["same_index_rank"].tolist() == ranks


def test_constant_neurons_and_other_widths_have_no_match():
    a, b = make(30, 4, 0), make(30, 6, 1)
    b[:, 2] = 7
    found = match(a, b)
    assert found["best_neuron"].isna().tolist() == [False, False, True, False, False, False]
    assert found["same_index_rank"].isna().all() and found["assigned_neuron"].notna().sum() == 4


def test_the_null_is_below_a_copy_and_near_the_best_of_unrelated_neurons():
    a = make(60, 15)
    unrelated = make(60, 15, 9)
    high = null_of_best(Standardised.of(a), Standardised.of(a), n_draws=50, rng=np.random.default_rng(0))
    assert (high < 0.7).all() and (high > 0.1).all()
    best = correlations(Standardised.of(a), Standardised.of(unrelated)).max(0)
    assert (best > high).mean() < 0.4
