"""CKA against sums over distinct rows, the feature form, and what has to be 0 and 1."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from neuron_signatures.stats.cka import cka, gram, grouped, permuted_cka, weighted_cka, weighted_hsic


def make(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def distinct_sums(k: np.ndarray, m: np.ndarray, w: np.ndarray) -> float:
    """HSIC as weighted means over pairs, triples and quadruples of distinct rows."""
    n = len(k)

    def mean(order: int, value) -> float:
        found = [(np.prod(w[list(t)]), value(*t)) for t in permutations(range(n), order)]
        return sum(a * v for a, v in found) / sum(a for a, _ in found)

    both = mean(2, lambda i, j: k[i, j] * m[i, j])
    apart = mean(4, lambda i, j, q, r: k[i, j] * m[q, r])
    shared = mean(3, lambda i, j, q: k[i, j] * m[i, q])
    return both + apart - 2 * shared


@pytest.mark.parametrize("d", [2, 30])
def test_debiased_is_the_mean_over_distinct_rows(d):
    k, m = gram(make(7, d, 0)), gram(make(7, 5, 1))
    ones = np.ones(7)
    wanted = distinct_sums(k, m, ones) / np.sqrt(distinct_sums(k, k, ones) * distinct_sums(m, m, ones))
    assert cka(k, m).debiased == pytest.approx(wanted, abs=1e-10)


def test_biased_is_the_feature_form():
    x, y = make(40, 6, 0).astype(np.float64), make(40, 9, 1).astype(np.float64)
    x, y = x - x.mean(0), y - y.mean(0)
    wanted = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert cka(gram(x), gram(y)).biased == pytest.approx(wanted, rel=1e-12)


def test_weights_of_groups_are_weights_of_their_rows():
    k, m, starts = gram(make(7, 4, 0)), gram(make(7, 3, 1)), np.array([0, 2, 3])
    weights = np.array([[1.0, 1, 1], [2, 0, 1], [0.5, 3, 1.5]])
    found = weighted_hsic(grouped(k, m, starts), weights)
    wanted = [distinct_sums(k, m, np.repeat(w, [2, 1, 4])) for w in weights]
    assert found == pytest.approx(wanted, rel=1e-9)


def test_a_group_of_weight_zero_is_left_out_and_all_ones_are_the_estimate():
    x, y, starts = make(30, 4, 0), make(30, 4, 1) + make(30, 4, 0), np.arange(0, 30, 5)
    k, m = gram(x), gram(y)
    sums = [grouped(a, b, starts) for a, b in ((k, m), (k, k), (m, m))]
    weights = np.ones((2, 6))
    weights[1, 2] = 0
    kept = np.r_[0:10, 15:30]
    wanted = [cka(k, m).debiased, cka(gram(x[kept]), gram(y[kept])).debiased]
    assert weighted_cka(*sums, weights) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("n, d", [(5, 3), (50, 7), (33, 600)])
def test_a_matrix_with_itself_is_exactly_one(n, d):
    x = make(n, d, 3)
    k, again = gram(x), gram(x.copy())
    assert cka(k, again) == (1.0, 1.0)
    sums = [grouped(a, b, np.array([0, 2])) for a, b in ((k, again), (k, k), (again, again))]
    assert (weighted_cka(*sums, np.array([[1.0, 1.0], [3.0, 1.0]])) == 1).all()


def test_rotation_scale_and_shift_do_not_matter():
    x = make(60, 8, 0)
    rotation = np.linalg.qr(make(8, 8, 1))[0]
    found = cka(gram(x), gram(3 * x @ rotation + 5))
    assert found.biased == pytest.approx(1, abs=1e-5) and found.debiased == pytest.approx(1, abs=1e-5)


def test_unrelated_columns_are_near_zero_only_when_debiased():
    found = [cka(gram(make(40, 500, s)), gram(make(40, 500, 100 + s))) for s in range(30)]
    debiased = np.array([f.debiased for f in found])
    assert min(f.biased for f in found) > 0.9
    assert abs(debiased.mean()) < 4 * debiased.std() / np.sqrt(30)


def test_permuted_rows_are_about_zero():
    x = make(60, 20, 0)
    null = permuted_cka(gram(x), gram(x), n_draws=200, rng=np.random.default_rng(0))
    assert abs(null.mean()) < 4 * null.std() / np.sqrt(200) and null.max() < 0.3


def test_permuting_is_permuting_the_rows_of_the_data():
    x, y, rng = make(20, 4, 0), make(20, 5, 1), np.random.default_rng(7)
    order = np.random.default_rng(7).permutation(20)
    found = permuted_cka(gram(x), gram(y), n_draws=1, rng=rng)[0]
    assert found == pytest.approx(cka(gram(x), gram(y[order])).debiased, rel=1e-9)


def test_too_few_rows_and_constant_columns_are_undefined():
    assert np.isnan(cka(gram(make(3, 4, 0)), gram(make(3, 4, 1))).debiased)
    constant = cka(gram(np.ones((9, 4), np.float32)), gram(make(9, 4, 1)))
    assert np.isnan(constant.biased) and np.isnan(constant.debiased)
