"""Clusters of neurons in the PCA-reduced space, their silhouettes, and the same for shuffled data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from neuron_signatures.dashboard.data.neuron_stats import Progress, no_progress
from neuron_signatures.dashboard.data.sample import Sample, draw
from neuron_signatures.dashboard.map.projection import Reduced, pca, prepare, shuffle
from neuron_signatures.dashboard.widgets.words import count_of

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

Method = Literal["k-means", "HDBSCAN"]
NOISE = -1
_SILHOUETTE_POINTS = 2_000
"""All pairs are compared: 32 MB."""
_RESTARTS, _SWEEP_RESTARTS = 10, 3


class Settings(NamedTuple):
    """`k` is for k-means, `min_size` (the smallest cluster) for HDBSCAN."""

    method: Method
    k: int
    min_size: int
    seed: int


@dataclass(frozen=True)
class Clustering:
    """Clusters are numbered by decreasing size, from 0."""

    labels: Int64[np.ndarray, " neuron"]
    """`NOISE` for a neuron in no cluster (HDBSCAN)."""
    settings: Settings
    note: str
    """How the result differs from the request; empty if it does not."""

    @property
    def n_clusters(self) -> int:
        return int(self.labels.max(initial=NOISE)) + 1

    @property
    def n_noise(self) -> int:
        return int((self.labels == NOISE).sum())


class Silhouette(NamedTuple):
    """Mean over neurons of (b - a) / max(a, b), with mean distances `a` in the cluster and `b` to the nearest other.

    1: well separated; 0: touching; below 0: mixed.
    """

    value: float | None
    n_points: int
    why: str
    """The neurons that were used, or why the value is undefined."""


class Swept(NamedTuple):
    """Silhouettes of k-means for one `k`, of the data and of the shuffled data."""

    k: int
    data: float | None
    shuffled: float | None


class TopToken(NamedTuple):
    """A distinct token of the sample, for one cluster: means over the cluster's neurons and the token's occurrences."""

    cluster: int
    token: str
    """Raw."""
    n: int
    """Occurrences among the sampled tokens."""
    mean_z: float
    """Mean of activations standardised per neuron."""
    mean_act: float


def cluster(reduced: Reduced, settings: Settings, *, restarts: int = _RESTARTS) -> Clustering:
    """Clusters of the neurons in the space of `reduced`. Settings out of range are clipped, with a note."""
    if settings.method == "k-means":
        return _k_means(reduced, settings, restarts)
    return _hdbscan(reduced, settings)


def silhouette(reduced: Reduced, labels: Int64[np.ndarray, " neuron"], *, seed: int) -> Silhouette:
    """The silhouette over the neurons that are in a cluster, or over a seeded draw of them if there are many."""
    from sklearn.metrics import silhouette_score

    inside = np.flatnonzero(labels != NOISE)
    noise = len(labels) - len(inside)
    why = f"all neurons except {noise:,} of noise" if noise else "all neurons"
    if len(inside) > _SILHOUETTE_POINTS:
        why = f"{_SILHOUETTE_POINTS:,} drawn at random of {why}"
        inside = draw(inside, _SILHOUETTE_POINTS, seed)
    n = len(np.unique(labels[inside]))
    if n < 2:
        return Silhouette(None, len(inside), "undefined with fewer than two clusters")
    if n >= len(inside):
        return Silhouette(None, len(inside), "undefined if every cluster is one neuron")
    value = float(silhouette_score(reduced.coords[inside].astype(np.float64), labels[inside]))
    return Silhouette(value if np.isfinite(value) else None, len(inside), why)


def reduce_shuffled(sample: Sample, like: Reduced, *, seed: int) -> Reduced:
    """The sample with each neuron's activations shuffled independently over the tokens, reduced in the same way."""
    x = prepare(sample.acts, like.rows)
    shuffle(x, seed)
    return pca(x, like.rows, seed=seed, components=like.coords.shape[1])


def sweep(
    data: Reduced, shuffled: Reduced, ks: list[int], *, seed: int, progress: Progress = no_progress
) -> list[Swept]:
    """k-means for each `k`, with fewer restarts than `cluster`."""
    out = []
    for done, k in enumerate(ks):
        progress(done, len(ks))
        settings = Settings("k-means", k, 2, seed)
        scores = [
            silhouette(r, cluster(r, settings, restarts=_SWEEP_RESTARTS).labels, seed=seed).value
            for r in (data, shuffled)
        ]
        out.append(Swept(k, *scores))
    progress(len(ks), len(ks))
    return out


def sweep_ks(n: int) -> list[int]:
    """Numbers of clusters to compare for `n` neurons."""
    return [k for k in (2, 3, 4, 5, 6, 8, 10, 12, 16, 20) if k < n]


def top_tokens(sample: Sample, labels: Int64[np.ndarray, " neuron"], *, per_cluster: int) -> list[TopToken]:
    """For each cluster, the distinct tokens with the largest mean standardised activation; ties by first occurrence.

    Noise has none. Tokens with the same text are one token.
    """
    of, texts = pd.factorize(np.array([sample.tokens[c] for c in sample.code], object))  # by first occurrence
    counts = np.bincount(of)
    out = []
    for c in range(int(labels.max(initial=NOISE)) + 1):
        z, act = _cluster_means(sample, np.flatnonzero(labels == c))
        mean_z, mean_act = (np.bincount(of, v) / counts for v in (z, act))
        order = np.argsort(-mean_z, kind="stable")[:per_cluster]
        out += [TopToken(c, texts[i], int(counts[i]), float(mean_z[i]), float(mean_act[i])) for i in order]
    return out


def _k_means(reduced: Reduced, settings: Settings, restarts: int) -> Clustering:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    k = max(1, min(settings.k, reduced.n_points))
    note = "" if k == settings.k else f"{k} clusters: there are only {k} distinct points"
    model = KMeans(n_clusters=k, n_init=restarts, random_state=settings.seed)
    # One thread: the same clusters on any number of cores, and much faster on a busy machine.
    with threadpool_limits(1):
        labels = model.fit_predict(reduced.coords)
    return Clustering(_by_size(labels), settings, note)


def _hdbscan(reduced: Reduced, settings: Settings) -> Clustering:
    from sklearn.cluster import HDBSCAN

    n = len(reduced.coords)
    size = max(2, min(settings.min_size, n // 2))
    if n < 4:
        note = "too few neurons for HDBSCAN; all are noise"
        return Clustering(np.full(n, NOISE, np.int64), settings, note)
    note = (
        "" if size == settings.min_size else f"smallest cluster {size}, because there are only {count_of(n, 'neuron')}"
    )
    model = HDBSCAN(min_cluster_size=size, copy=True)
    return Clustering(_by_size(model.fit_predict(reduced.coords.astype(np.float64))), settings, note)


def _by_size(labels: np.ndarray) -> Int64[np.ndarray, " neuron"]:
    """Labels renumbered by decreasing size; ties keep the order of their first member."""
    found, first, counts = np.unique(labels[labels >= 0], return_index=True, return_counts=True)
    out = np.full(len(labels), NOISE, np.int64)
    for new, old in enumerate(found[np.lexsort((first, -counts))]):
        out[labels == old] = new
    return out


def _cluster_means(
    sample: Sample, members: Int64[np.ndarray, " member"]
) -> tuple[Float64[np.ndarray, " token"], Float64[np.ndarray, " token"]]:
    """Means over the members of the standardised and the raw activations at each token."""
    z = np.zeros(sample.acts.shape[1])
    act = np.zeros_like(z)
    for start in range(0, len(members), 256):
        rows = sample.acts[members[start : start + 256]]
        act += rows.sum(axis=0, dtype=np.float64)
        z += prepare(rows, "standardised").sum(axis=0, dtype=np.float64)
    return z / len(members), act / len(members)
