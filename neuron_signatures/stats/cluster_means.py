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
    numbers = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    of = np.array([numbers[cluster] for cluster in clusters])
    sums, counts = (np.bincount(of, weights=w, minlength=len(numbers)) for w in (np.asarray(values, float), None))
    mean = float(sums.sum() / counts.sum())
    if len(numbers) < 2:
        return ClusterMean(mean, None, None)
    rng, means = np.random.default_rng(seed), []
    step = max(1, _AT_ONCE // len(numbers))
    for start in range(0, n_draws, step):
        n = min(step, n_draws - start)
        weights = bootstrap_weights([("", "")] * len(numbers), n_draws=n, rng=rng)
        means.append(weights @ sums / (weights @ counts))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return ClusterMean(mean, float(low), float(high))
