"""Bootstrap weights and intervals on cases whose answer is visible."""

from __future__ import annotations

import numpy as np
import pytest

from neuron_signatures.stats.bootstrap import bootstrap_weights, mean_intervals, median_interval


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_observations_without_names_are_drawn_themselves():
    weights = bootstrap_weights([("", "")] * 5, n_draws=4000, rng=rng())
    assert weights.shape == (4000, 5) and (weights.sum(1) == 5).all()
    assert weights.mean(0) == pytest.approx(np.ones(5), abs=0.05)
    assert weights.var(0) == pytest.approx(np.full(5, 0.8), abs=0.06)  # n · 1/n · (1 - 1/n)


def test_pairs_count_as_often_as_both_their_entities_together():
    """Two entities: a draw with both once has both pairs once, any other is empty and drawn again."""
    weights = bootstrap_weights([("a", "b"), ("b", "a")], n_draws=50, rng=rng())
    assert (weights == 1).all()


def test_weights_of_pairs_are_products():
    names = "abcd"
    members = [(x, y) for x in names for y in names if x != y]
    weights = bootstrap_weights(members, n_draws=300, rng=rng())
    at = {m: i for i, m in enumerate(members)}
    for row in weights:
        assert row.sum() > 0
        assert all(row[at[x, y]] == row[at[y, x]] for x, y in members)
        # w_ab · w_cd = w_ac · w_bd = t_a t_b t_c t_d
        assert row[at["a", "b"]] * row[at["c", "d"]] == row[at["a", "c"]] * row[at["b", "d"]]
    assert {0.0, 1.0, 2.0, 4.0} <= set(weights.ravel())


def test_intervals_of_pairs_are_wider_than_those_of_independent_observations():
    names = [str(i) for i in range(8)]
    members = [(x, y) for x in names for y in names if x != y]
    values = np.array([[float(int(x) < 4)] for x, _ in members])  # decided by one entity of the pair
    of_pairs = mean_intervals(values, bootstrap_weights(members, n_draws=2000, rng=rng()))
    alone = mean_intervals(values, bootstrap_weights([("", "")] * len(members), n_draws=2000, rng=rng()))
    assert (of_pairs.high - of_pairs.low)[0] > 1.5 * (alone.high - alone.low)[0]


def test_intervals_of_a_mean():
    weights = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0], [1.0, 1.0]])
    low, high = mean_intervals(np.array([[0.0, 5.0], [1.0, 5.0]]), weights)
    assert low == pytest.approx([np.percentile([0, 0.5, 0.5, 1], 2.5), 5.0])
    assert high == pytest.approx([np.percentile([0, 0.5, 0.5, 1], 97.5), 5.0])


def test_the_interval_of_a_median_may_end_at_infinity():
    values = np.array([np.inf, 3.0, 1.0])
    assert median_interval(values, np.array([[0.0, 1.0, 2.0]])) == (1.0, 1.0)
    assert median_interval(values, np.array([[1.0, 1.0, 1.0]])) == (3.0, 3.0)
    assert median_interval(values, np.array([[0.0, 1.0, 1.0]])) == (1.0, 1.0)  # the lower one of two
    low, high = median_interval(values, bootstrap_weights([("", "")] * 3, n_draws=500, rng=rng()))
    assert (low, high) == (1.0, np.inf)
