"""Modes: groups of the strongest windows that are about different things, each of which gets an explanation.

The texts around the peaks are embedded, reduced to a few principal components and clustered (k-means). A clustering is
judged by its mean silhouette (Rousseeuw 1987) beside those of clouds without clusters: draws of a Gaussian with the
same mean and covariance (as in SigClust, Liu et al. 2008), clustered in the same way. The number of clusters is the one
whose silhouette exceeds the null's mean most; there is one mode unless this excess is rare among the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from neuron_signatures.explain.evidence.excerpts import Excerpt
from neuron_signatures.explain.evidence.silent import Embed
from neuron_signatures.runs.tokens import encodable

N_DRAWS = 100
ALPHA = 0.05
"""Largest p at which there is more than one mode."""
LEAST = 3
"""Texts per cluster, on average, below which a number of clusters is not tried."""
_COMPONENTS = 8
_STARTS = 4
"""Starts of k-means, of which the best counts."""


@dataclass(frozen=True)
class TriedNumber:
    """A number of clusters: its mean silhouette, and those of the draws without clusters."""

    n_clusters: int
    silhouette: float
    null_mean: float
    null_std: float
    null_high: float
    """95th percentile."""


@dataclass(frozen=True)
class ModeChoice:
    """Why there are as many modes."""

    n_texts: int
    tried: tuple[TriedNumber, ...]
    """Empty if there are too few texts."""
    p: float | None
    """(1 + draws whose largest excess over the null's mean is at least the observed one) / (1 + draws); None if
    nothing was tried."""
    n_draws: int


@dataclass(frozen=True)
class Mode:
    """A group of the strongest windows."""

    number: int
    """From 0, the largest share first."""
    windows: tuple[int, ...]
    """Strongest first; also those whose equal texts were folded into one."""
    share: float
    """Of the strongest windows."""
    choice: ModeChoice


def find_modes(
    excerpts: Sequence[Excerpt], most: int, embed: Embed, seed: int, *, n_draws: int = N_DRAWS
) -> list[Mode]:
    """One to `most` modes of the strongest windows (`NeuronEvidence.strongest`); none without a window."""
    if not excerpts:
        return []
    points = _components(np.asarray(embed([encodable(e.text) for e in excerpts]), np.float64))
    choice, labels = _choose(points, min(most, len(excerpts) // LEAST), seed, n_draws)
    groups = [[e for e, g in zip(excerpts, labels.tolist(), strict=True) if g == label] for label in np.unique(labels)]
    members = [tuple(w for e in group for w in e.windows) for group in groups]
    total = sum(map(len, members))
    ordered = sorted(range(len(groups)), key=lambda i: (-len(members[i]), -groups[i][0].largest, members[i]))
    return [Mode(n, members[i], len(members[i]) / total, choice) for n, i in enumerate(ordered)]


def _choose(
    points: Float64[np.ndarray, "text dim"], most: int, seed: int, n_draws: int
) -> tuple[ModeChoice, Int[np.ndarray, " text"]]:
    one = np.zeros(len(points), np.int64)
    numbers = range(2, most + 1)
    if not numbers or not points.any():
        return ModeChoice(len(points), (), None, 0), one
    random = np.random.default_rng(seed)
    labels, observed = _clusterings(points, numbers, random)
    null = np.array([_clusterings(_cloud(points, random), numbers, random)[1] for _ in range(n_draws)])
    excess = observed - null.mean(axis=0)
    drawn = (null - null.mean(axis=0)).max(axis=1)
    p = (1 + int((drawn >= excess.max()).sum())) / (1 + n_draws)
    tried = tuple(
        TriedNumber(k, float(observed[i]), float(null[:, i].mean()), float(null[:, i].std(ddof=1)),
                    float(np.quantile(null[:, i], 0.95)))
        for i, k in enumerate(numbers)
    )  # fmt: skip
    found = labels[int(excess.argmax())] if p <= ALPHA else one
    return ModeChoice(len(points), tried, p, n_draws), found


def _components(vectors: Float[np.ndarray, "text dim"]) -> Float64[np.ndarray, "text component"]:
    """Centred, in the directions of most variance, which are uncorrelated."""
    centred = vectors - vectors.mean(axis=0)
    u, size, _ = np.linalg.svd(centred, full_matrices=False)
    n = min(_COMPONENTS, max(1, len(vectors) // LEAST))
    found: np.ndarray = (u * size)[:, :n]
    return found


def _cloud(points: Float64[np.ndarray, "text dim"], random: np.random.Generator) -> Float64[np.ndarray, "text dim"]:
    """As many draws of a Gaussian with the covariance of the points, which have uncorrelated columns and mean 0."""
    found: np.ndarray = random.standard_normal(points.shape) * points.std(axis=0)
    return found


def _clusterings(
    points: Float64[np.ndarray, "text dim"], numbers: Sequence[int], random: np.random.Generator
) -> tuple[list[Int[np.ndarray, " text"]], Float64[np.ndarray, " number"]]:
    """The labels of each number of clusters, and their mean silhouettes (0 if k-means finds one cluster only)."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    labels = []
    for k in numbers:
        means = KMeans(k, n_init=_STARTS, random_state=int(random.integers(1 << 31)))
        labels.append(np.asarray(means.fit_predict(points), np.int64))
    scores = [float(silhouette_score(points, g)) if 1 < len(np.unique(g)) < len(g) else 0.0 for g in labels]
    return labels, np.array(scores)
