"""How stable a clustering is, and what data without clusters would give.

Stability: the adjusted Rand index (Hubert and Arabie 1985) of the clusters with those of bootstraps of what the neurons
are described by; of one cluster, the mean over bootstraps of the largest Jaccard index with a cluster (Hennig 2007).
Data without clusters: each column of the reduced descriptions permuted over the neurons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from neuron_signatures.corpus_analysis.clusters.basis import Basis, reduced, rotated, shuffle_order, unit
from neuron_signatures.corpus_analysis.clusters.grouping import NOISE, Found, Grouper
from neuron_signatures.runs.progress import Bar


@dataclass(frozen=True, eq=False)
class Stability:
    """`aris` by bootstrap, `null_aris` by shuffle; `clusters`: stability of each cluster. NaN where undefined."""

    aris: Float64[np.ndarray, " draw"]
    null_aris: Float64[np.ndarray, " draw"]
    clusters: Float64[np.ndarray, " cluster"]
    null_silhouettes: Float64[np.ndarray, " shuffle"]

    def p(self, silhouette: float) -> float:
        """Share of the shuffled data whose silhouette is at least as large; draws without clusters are smaller."""
        if np.isnan(silhouette) or not len(self.null_silhouettes):
            return float("nan")
        return float((1 + (self.null_silhouettes >= silhouette).sum()) / (1 + len(self.null_silhouettes)))


def measure(
    basis: Basis, features: Float64[np.ndarray, "neuron dim"], grouper: Grouper, found: Found, *, n_bootstraps: int,
    n_shuffles: int, seed: int, bar: Bar,
) -> Stability:  # fmt: skip
    """Cluster again and again: bootstraps, and shuffled data, which is bootstrapped too.

    `features` are the reduced rows in which the clusters were found. A bootstrap of shuffled data is a bootstrap of the
    data, shuffled alike. If the number of clusters was chosen by its silhouette, so it is in shuffled data.
    """
    k, rows = found.n_clusters, []
    aris, best = [], []
    for draw in range(n_bootstraps):
        again = reduced(basis.resampled(np.random.default_rng([seed, 4, draw])), seed=seed)
        rows.append(rotated(again, features))
        labels = grouper.labels(rows[-1], k)
        aris.append(rand_index(found.labels, labels))
        best.append(best_jaccard(found.labels, labels))
        bar.advance(1)
    null_aris, null_silhouettes = [], []
    for draw in range(max(n_shuffles, n_bootstraps)):
        order = shuffle_order(features.shape, np.random.default_rng([seed, 5, draw]))
        null = unit(np.take_along_axis(features, order, axis=0))
        if draw < n_shuffles:
            null_silhouettes.append(grouper.best(null).silhouette)
        if draw < n_bootstraps:
            again = unit(np.take_along_axis(rows[draw], order, axis=0))
            null_aris.append(rand_index(grouper.labels(null, k), grouper.labels(again, k)))
        bar.advance(1)
    jaccard = np.mean(best, axis=0) if best else np.full(k, np.nan)
    return Stability(np.array(aris), np.array(null_aris), jaccard, np.array(null_silhouettes))


def rand_index(a: Int64[np.ndarray, " neuron"], b: Int64[np.ndarray, " neuron"]) -> float:
    """The adjusted Rand index over neurons that are noise in neither; NaN if one has fewer than two clusters."""
    from sklearn.metrics import adjusted_rand_score

    both = (a != NOISE) & (b != NOISE)
    if min(len(np.unique(a[both])), len(np.unique(b[both]))) < 2:
        return float("nan")
    return float(adjusted_rand_score(a[both], b[both]))


def best_jaccard(a: Int64[np.ndarray, " neuron"], b: Int64[np.ndarray, " neuron"]) -> Float64[np.ndarray, " cluster"]:
    """For each cluster of `a`, the largest Jaccard index of its members with those of a cluster of `b`."""
    n, m = int(a.max(initial=-1)) + 1, int(b.max(initial=-1)) + 1
    if not m:
        return np.zeros(n)
    both = (a != NOISE) & (b != NOISE)
    common = np.zeros((n, m))
    np.add.at(common, (a[both], b[both]), 1)
    sizes_a, sizes_b = (np.bincount(x[x != NOISE], minlength=k) for x, k in ((a, n), (b, m)))
    return np.asarray((common / (sizes_a[:, None] + sizes_b - common)).max(axis=1))
