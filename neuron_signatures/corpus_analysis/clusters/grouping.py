"""Grouping neurons by their descriptions, and silhouettes of the groups.

Rousseeuw 1987, "Silhouettes"; Campello, Moulavi and Sander 2013 (HDBSCAN). Distances are Euclidean between rows of
length 1, so nearest means largest cosine: neurons with opposite descriptions are farthest apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64, Int64

from neuron_signatures.runs.corpus_analysis.folder import Method

NOISE: Final = -1
SHORT_LIST: Final = (10, 20, 40, 80)
"""Numbers of clusters that are tried if none is given."""
_STARTS: Final = 4
_ITERATIONS: Final = 100
_SILHOUETTE_NEURONS: Final = 1000
_BRUTE_NEURONS: Final = 10_000


@dataclass(frozen=True)
class Grouper:
    """A method with its settings. `n_clusters` are the numbers that are tried; the largest silhouette wins."""

    method: Method
    n_clusters: tuple[int, ...]
    min_cluster_size: int
    seed: int

    def best(self, x: Float64[np.ndarray, "neuron dim"]) -> Found:
        """The clusters of rows of length 1."""
        found = [self._grouped(x, k) for k in self.n_clusters] if self.method == "kmeans" else [self._grouped(x, 0)]
        return max(found, key=lambda f: -np.inf if np.isnan(f.silhouette) else f.silhouette)

    def labels(self, x: Float64[np.ndarray, "neuron dim"], n_clusters: int) -> Int64[np.ndarray, " neuron"]:
        """The cluster of each row; -1 is noise (HDBSCAN only). Clusters are numbered by size, the largest first."""
        if self.method == "kmeans":
            from sklearn.cluster import KMeans

            kmeans = KMeans(n_clusters, n_init=_STARTS, max_iter=_ITERATIONS, random_state=self.seed)
            found = kmeans.fit_predict(x)
        else:
            from sklearn.cluster import HDBSCAN

            algorithm = "brute" if len(x) <= _BRUTE_NEURONS else "auto"
            found = HDBSCAN(min_cluster_size=self.min_cluster_size, algorithm=algorithm, copy=True).fit_predict(x)
        return _by_size(found.astype(np.int64))

    def _grouped(self, x: Float64[np.ndarray, "neuron dim"], n_clusters: int) -> Found:
        labels = self.labels(x, n_clusters)
        rows = silhouette_rows(labels, seed=self.seed)
        return Found(labels, rows, silhouettes(x, labels, rows))


@dataclass(frozen=True, eq=False)
class Found:
    """Clusters, and the silhouettes of a sample of neurons."""

    labels: Int64[np.ndarray, " neuron"]
    rows: Int64[np.ndarray, " sampled"]
    silhouettes: Float64[np.ndarray, " defined"]
    """Empty where they are undefined."""

    @property
    def n_clusters(self) -> int:
        return int(self.labels.max(initial=-1)) + 1

    @property
    def silhouette(self) -> float:
        """Their mean; NaN with fewer than two clusters."""
        return float(self.silhouettes.mean()) if len(self.silhouettes) else float("nan")

    def of_cluster(self, cluster: int) -> float:
        """The mean silhouette of a cluster's neurons in the sample; NaN without any."""
        mine = self.silhouettes[self.labels[self.rows] == cluster] if len(self.silhouettes) else self.silhouettes
        return float(mine.mean()) if len(mine) else float("nan")


def silhouette_rows(labels: Int64[np.ndarray, " neuron"], *, seed: int) -> Int64[np.ndarray, " sampled"]:
    """The neurons whose silhouettes are computed, against each other: at most 1,000 that are not noise."""
    rows = np.flatnonzero(labels != NOISE)
    if len(rows) > _SILHOUETTE_NEURONS:
        rows = np.sort(np.random.default_rng([seed, 3]).choice(rows, _SILHOUETTE_NEURONS, replace=False))
    return rows


def silhouettes(
    x: Float64[np.ndarray, "neuron dim"], labels: Int64[np.ndarray, " neuron"], rows: Int64[np.ndarray, " sampled"]
) -> Float64[np.ndarray, " defined"]:
    """The silhouettes of these rows; empty if they are in fewer than two clusters, or each in its own."""
    from sklearn.metrics import silhouette_samples

    n = len(np.unique(labels[rows]))
    if not 2 <= n < len(rows):
        return np.zeros(0)
    return np.asarray(silhouette_samples(x[rows], labels[rows]), np.float64)


def centres(x: Float64[np.ndarray, "neuron dim"], labels: Int64[np.ndarray, " neuron"]) -> Sequence[np.ndarray]:
    """The mean of each cluster's rows."""
    return [x[labels == cluster].mean(axis=0) for cluster in range(int(labels.max(initial=-1)) + 1)]


def _by_size(labels: Int64[np.ndarray, " neuron"]) -> Int64[np.ndarray, " neuron"]:
    """Clusters numbered by size, the largest first, ties by their first neuron."""
    numbers, firsts, sizes = np.unique(labels[labels != NOISE], return_index=True, return_counts=True)
    new = np.full(len(labels), NOISE, np.int64)
    for rank, i in enumerate(np.lexsort((firsts, -sizes)).tolist()):
        new[labels == numbers[i]] = rank
    return new
