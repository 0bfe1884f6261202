"""Modes: groups of the strongest windows that are about different things, each of which gets an explanation.

The last tokens up to each peak are embedded, reduced to a few principal components and clustered (k-means). A
clustering is judged by its mean silhouette (Rousseeuw 1987) beside those of clouds without clusters: draws of a Gaussian
with the same mean and covariance (as in SigClust, Liu et al. 2008), clustered in the same way. The number of clusters is
the one whose silhouette exceeds the null's mean most; there is one mode unless this excess is rare among the draws, and
the silhouette is one of visible structure: texts of a corpus are no Gaussian either, so a small p alone says little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from neuron_signatures.explain.clustering import cluster
from neuron_signatures.explain.evidence.excerpts import Excerpt
from neuron_signatures.explain.evidence.silent import Embed
from neuron_signatures.runs.tokens import encodable

N_DRAWS = 100
ALPHA = 0.05
"""Largest p at which there is more than one mode."""
LEAST_SILHOUETTE = 0.25
"""Smallest silhouette at which there is more than one mode: below, there is no substantial structure (Kaufman and
Rousseeuw 1990). In docs/explain.md are the silhouettes of random windows and of planted modes on a real corpus."""
BEFORE = 3
"""Tokens before the peak that are embedded with it: longer texts are alike by what they are about, not by what the
neuron is active on."""
LEAST = 3
"""Texts that every mode has: clusterings with a smaller cluster are not chosen."""
_COMPONENTS = 8


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
    """(1 + draws whose largest excess over the null's mean is at least the observed one) / (1 + draws); 1 if every
    clustering has a cluster that is too small, None if nothing was tried."""
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
    points = _components(np.asarray(embed([encodable(near_peak(e)) for e in excerpts]), np.float64))
    choice, labels = _choose(points, min(most, len(excerpts) // LEAST), seed, n_draws)
    groups = [[e for e, g in zip(excerpts, labels.tolist(), strict=True) if g == label] for label in np.unique(labels)]
    members = [tuple(w for e in group for w in e.windows) for group in groups]
    total = sum(map(len, members))
    ordered = sorted(range(len(groups)), key=lambda i: (-len(members[i]), -groups[i][0].largest, members[i]))
    return [Mode(n, members[i], len(members[i]) / total, choice) for n, i in enumerate(ordered)]


def near_peak(excerpt: Excerpt) -> str:
    """The peak and the tokens before it; raw."""
    return "".join(excerpt.tokens[max(excerpt.pos - BEFORE, 0) : excerpt.pos + 1])


def _choose(
    points: Float64[np.ndarray, "text dim"], most: int, seed: int, n_draws: int
) -> tuple[ModeChoice, Int[np.ndarray, " text"]]:
    one = np.zeros(len(points), np.int64)
    numbers = range(2, most + 1)
    if not numbers or not points.any():
        return ModeChoice(len(points), (), None, 0), one
    random = np.random.default_rng(seed)
    clouds = random.standard_normal((n_draws, *points.shape)) * points.std(axis=0)
    found = [cluster(points[None], k, random) for k in numbers]
    observed = np.array([c.silhouette[0] for c in found])
    null = np.stack([cluster(clouds, k, random).silhouette for k in numbers], axis=1)
    whole = [np.bincount(c.labels[0], minlength=k).min() >= LEAST for k, c in zip(numbers, found, strict=True)]
    excess = np.where(whole, observed - null.mean(axis=0), -np.inf)
    drawn = (null - null.mean(axis=0)).max(axis=1)
    p = (1 + int((drawn >= excess.max()).sum())) / (1 + n_draws)
    tried = tuple(
        TriedNumber(k, float(observed[i]), float(null[:, i].mean()), float(null[:, i].std(ddof=1)),
                    float(np.quantile(null[:, i], 0.95)))
        for i, k in enumerate(numbers)
    )  # fmt: skip
    best = int(excess.argmax())
    is_clustered = p <= ALPHA and observed[best] >= LEAST_SILHOUETTE
    return ModeChoice(len(points), tried, p, n_draws), found[best].labels[0] if is_clustered else one


def _components(vectors: Float[np.ndarray, "text dim"]) -> Float64[np.ndarray, "text component"]:
    """Centred, in the directions of most variance, which are uncorrelated: a Gaussian of their variances has the
    covariance of the points."""
    centred = vectors - vectors.mean(axis=0)
    u, size, _ = np.linalg.svd(centred, full_matrices=False)
    n = min(_COMPONENTS, max(1, len(vectors) // LEAST))
    found: np.ndarray = (u * size)[:, :n]
    return found
