"""Clusters, their silhouettes and their stability, on planted groups and on data without any."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from neuron_signatures.corpus_analysis.clusters.basis import WeightBasis, reduced, rotated, shuffle_order, unit
from neuron_signatures.corpus_analysis.clusters.grouping import NOISE, Grouper, centres, silhouettes
from neuron_signatures.corpus_analysis.clusters.stability import best_jaccard, measure, rand_index
from neuron_signatures.runs.corpus_analysis.folder import Method
from neuron_signatures.runs.progress import silent

N_GROUPS, PER_GROUP, DIM = 5, 24, 90
TRUTH = np.repeat(np.arange(N_GROUPS), PER_GROUP)


def _planted(noise: float, seed: int = 0) -> np.ndarray:
    """Rows around one direction for each group; with infinite noise, around none."""
    rng = np.random.default_rng(seed)
    middle = unit(rng.standard_normal((N_GROUPS, DIM)))[TRUTH]
    jitter = rng.standard_normal((len(TRUTH), DIM)) / DIM**0.5
    return jitter if np.isinf(noise) else middle + noise * jitter


def _grouper(method: Method = "kmeans", *sizes: int) -> Grouper:
    return Grouper(method, sizes or (N_GROUPS,), min_cluster_size=8, seed=0)


@pytest.mark.parametrize("method", ["kmeans", "hdbscan"])
def test_planted_groups_are_found(method: Method) -> None:
    x = reduced(_planted(0.5), seed=0)
    found = _grouper(method).best(x)
    assert found.n_clusters == N_GROUPS and adjusted_rand_score(TRUTH, found.labels) > 0.99
    assert found.silhouette == pytest.approx(silhouette_score(x, found.labels))
    each = [found.of_cluster(i) for i in range(N_GROUPS)]
    assert np.mean(each) == pytest.approx(found.silhouette)


def test_the_number_of_clusters_has_the_largest_silhouette() -> None:
    x = reduced(_planted(0.5), seed=0)
    assert _grouper("kmeans", 2, N_GROUPS, 20).best(x).n_clusters == N_GROUPS


def test_clusters_are_numbered_by_size() -> None:
    x = np.concatenate([_planted(0.3)[:5], _planted(0.3)[30:48], _planted(0.3)[60:70]])
    labels = _grouper("kmeans", 3).labels(unit(x), 3)
    assert np.bincount(labels).tolist() == [18, 10, 5]


def test_stability_tells_planted_groups_from_none() -> None:
    for noise, stable in ((0.5, True), (np.inf, False)):
        basis = WeightBasis(_planted(noise))
        features = reduced(basis.features(), seed=0)
        found = _grouper().best(features)
        got = measure(basis, features, _grouper(), found, n_bootstraps=20, n_shuffles=40, seed=0, bar=silent("", 0))
        assert len(got.aris) == len(got.null_aris) == 20 and len(got.null_silhouettes) == 40
        if stable:
            assert got.aris.min() > 0.95 > 0.9 > got.null_aris.max() and got.clusters.min() > 0.95
            assert got.p(found.silhouette) == pytest.approx(1 / 41)
        else:
            assert got.aris.mean() < 0.6 and abs(got.aris.mean() - got.null_aris.mean()) < 0.2
            assert got.p(found.silhouette) > 1 / 41


def test_random_draws_are_repeated_by_the_seed() -> None:
    basis = WeightBasis(_planted(1.0))
    features = reduced(basis.features(), seed=0)
    found = _grouper().best(features)
    one, two, other = (
        measure(basis, features, _grouper(), found, n_bootstraps=3, n_shuffles=3, seed=seed, bar=silent("", 0))
        for seed in (1, 1, 2)
    )
    assert np.array_equal(one.aris, two.aris) and np.array_equal(one.null_silhouettes, two.null_silhouettes)
    assert not np.array_equal(one.null_silhouettes, other.null_silhouettes)


def test_fifty_dimensions_keep_the_best_inner_products() -> None:
    x = unit(np.random.default_rng(0).standard_normal((120, 6)) @ np.random.default_rng(1).standard_normal((6, 400)))
    np.testing.assert_allclose(reduced(x, seed=0) @ reduced(x, seed=0).T, x @ x.T, atol=1e-8)
    assert reduced(np.random.default_rng(2).standard_normal((80, 300)), seed=0).shape == (80, 50)
    np.testing.assert_allclose(reduced(x[:, :20], seed=0), unit(x[:, :20]), atol=1e-12)


def test_a_rotation_keeps_distances_and_meets_the_other_columns() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, 8))
    turned = x @ np.linalg.qr(rng.standard_normal((8, 8)))[0]
    np.testing.assert_allclose(rotated(turned, x), x, atol=1e-10)


def test_shuffled_columns_keep_their_numbers() -> None:
    x = np.random.default_rng(4).standard_normal((30, 7))
    order = shuffle_order(x.shape, np.random.default_rng(0))
    shuffled = np.take_along_axis(x, order, axis=0)
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(x, axis=0))
    assert not np.array_equal(shuffled, x) and len({tuple(c) for c in order.T.tolist()}) == 7


def test_rand_index_and_jaccard_by_hand() -> None:
    a = np.array([0, 0, 0, 1, 1, 2, NOISE])
    b = np.array([0, 0, 1, 1, 1, NOISE, 0])
    np.testing.assert_allclose(best_jaccard(a, b), [2 / 4, 2 / 3, 0])
    assert rand_index(a, b) == pytest.approx(adjusted_rand_score(a[:5], b[:5]))
    assert rand_index(a, a) == 1
    assert np.isnan(rand_index(a, np.full(7, NOISE))) and np.isnan(rand_index(a, np.zeros(7, np.int64)))
    assert best_jaccard(a, np.full(7, NOISE)).tolist() == [0, 0, 0]


def test_no_silhouette_of_one_cluster() -> None:
    x = _planted(1.0)
    rows = np.arange(len(x))
    assert not len(silhouettes(x, np.zeros(len(x), np.int64), rows)) and not len(silhouettes(x, rows, rows))
    found = Grouper("hdbscan", (), 40, 0).best(reduced(_planted(np.inf), seed=0))
    assert found.n_clusters == 0 and np.isnan(found.silhouette)


def test_centres_are_means_of_the_members() -> None:
    x, labels = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, NOISE])
    np.testing.assert_array_equal(centres(x, labels), [[2, 3], [2, 3]])
