"""Means of observations that come in clusters, with bootstrap intervals over the clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from neuron_signatures.stats.bootstrap import bootstrap_weights

_AT_ONCE = 1 << 22
"""Weights that are drawn at a time: 32 MB."""


class ClusterMean(NamedTuple):
    """A mean, unweighted, with its 95 % percentile interval; None without observations, or with one cluster."""

    mean: float | None
    low: float | None
    high: float | None


def cluster_mean(values: Sequence[float], clusters: Sequence[object], *, n_draws: int, seed: int) -> ClusterMean:
    """Whole clusters are drawn, since the observations of one are not independent."""
    if not len(values):
        return ClusterMean(None, None, None)
    found = _Clusters.of(values, clusters)
    if found.n < 2:
        return ClusterMean(found.mean, None, None)
    return ClusterMean(found.mean, *_interval(found.drawn_means(n_draws, np.random.default_rng(seed))))


def cluster_difference(
    a: Sequence[float], clusters_a: Sequence[object], b: Sequence[float], clusters_b: Sequence[object], *,
    n_draws: int, seed: int,
) -> ClusterMean:  # fmt: skip
    """The mean of `a` less that of `b`, of two unpaired sets of observations: the clusters of each are drawn alone."""
    if not len(a) or not len(b):
        return ClusterMean(None, None, None)
    of_a, of_b = _Clusters.of(a, clusters_a), _Clusters.of(b, clusters_b)
    mean = of_a.mean - of_b.mean
    if min(of_a.n, of_b.n) < 2:
        return ClusterMean(mean, None, None)
    rng = np.random.default_rng(seed)
    return ClusterMean(mean, *_interval(of_a.drawn_means(n_draws, rng) - of_b.drawn_means(n_draws, rng)))


class _Clusters(NamedTuple):
    """Sums and counts of the observations of each cluster."""

    sums: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: Sequence[float], clusters: Sequence[object]) -> _Clusters:
        numbers = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
        of = np.array([numbers[cluster] for cluster in clusters])
        weights = np.asarray(values, float)
        return cls(np.bincount(of, weights, len(numbers)), np.bincount(of, None, len(numbers)))

    @property
    def n(self) -> int:
        return len(self.sums)

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.counts.sum())

    def drawn_means(self, n_draws: int, rng: np.random.Generator) -> np.ndarray:
        means, step = [], max(1, _AT_ONCE // self.n)
        for start in range(0, n_draws, step):
            n = min(step, n_draws - start)
            weights = bootstrap_weights([("", "")] * self.n, n_draws=n, rng=rng)
            means.append(weights @ self.sums / (weights @ self.counts))
        return np.concatenate(means)


def _interval(drawn: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
