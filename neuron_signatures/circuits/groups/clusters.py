"""Average linkage of neurons that lie at the same position, cut where the mean silhouette is largest."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy.cluster.hierarchy import linkage  # type: ignore[import-untyped]
from scipy.spatial.distance import squareform  # type: ignore[import-untyped]

_APART: Final = 10.0
"""Distance of neurons at different positions: more than any cosine distance, so that they are joined last."""
_MOST_CUTS: Final = 24
"""Numbers of clusters that are compared, evenly on a logarithmic scale."""


class Clusters(NamedTuple):
    """A clustering and its mean silhouette (Rousseeuw 1987); a neuron alone in its cluster has 0."""

    labels: Int64[np.ndarray, " neuron"]
    silhouettes: Float64[np.ndarray, " neuron"]

    @property
    def silhouette(self) -> float:
        return float(self.silhouettes.mean())

    def groups(self) -> list[Int64[np.ndarray, " member"]]:
        """The members of each cluster of two and more."""
        found = [np.flatnonzero(self.labels == label) for label in np.unique(self.labels)]
        return [members for members in found if len(members) > 1]


def best_clusters(
    similarity: Float64[np.ndarray, "neuron neuron"], pos: Int64[np.ndarray, " neuron"]
) -> Clusters | None:
    """The cut with the largest silhouette, by cosine distances also to neurons at other positions.

    None if there are fewer than three neurons, of which no clustering has a silhouette.
    """
    n, n_pos = len(pos), len(np.unique(pos))
    if n < 3:
        return None
    distance = 1.0 - similarity
    np.fill_diagonal(distance, 0.0)
    joined = np.where(pos[:, None] == pos[None, :], distance, _APART)
    tree = linkage(squareform(joined, checks=False), method="average")
    fewest = max(2, n_pos)
    sizes = {int(size) for size in np.geomspace(fewest, max(fewest, n - 1), _MOST_CUTS).round()}
    found = [Clusters(labels, silhouettes(distance, labels)) for labels in _cuts(tree, n, sizes)]
    return max(found, key=lambda c: c.silhouette)


def _cuts(tree: Float64[np.ndarray, "merge 4"], n: int, sizes: Set[int]) -> Iterator[Int64[np.ndarray, " neuron"]]:
    """The clusterings of these sizes, the largest number of clusters first, numbered from 0."""
    labels = np.arange(n)
    for i in range(n):
        if n - i in sizes:
            yield np.unique(labels, return_inverse=True)[1]
        if i < n - 1:
            labels[(labels == tree[i, 0]) | (labels == tree[i, 1])] = n + i


def silhouettes(
    distance: Float64[np.ndarray, "neuron neuron"], labels: Int64[np.ndarray, " neuron"]
) -> Float64[np.ndarray, " neuron"]:
    """(b - a) / max(a, b) of each neuron: a is the mean distance within its cluster, b that to the nearest other."""
    codes = np.unique(labels, return_inverse=True)[1]
    rows, n = np.arange(len(codes)), np.bincount(codes)
    means = distance @ np.eye(len(n))[codes]
    own_n = n[codes]
    own = means[rows, codes] / np.maximum(own_n - 1, 1)
    means /= n
    means[rows, codes] = np.inf
    other = means.min(axis=1)
    larger = np.maximum(own, other)
    defined = (own_n > 1) & np.isfinite(other) & (larger > 0)
    found: np.ndarray = np.divide(other - own, larger, out=np.zeros(len(labels)), where=defined)
    return found
