"""Projection of neurons from their activations over tokens to two dimensions, by PCA or t-SNE.

A neuron is a point, a token is a variable. Before PCA each neuron's row is standardised or centred over the tokens;
PCA centres each token over the neurons, as it always does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

Rows = Literal["standardised", "centred"]
ROWS: dict[Rows, str] = {
    "standardised": "each neuron's activations minus their mean, divided by their standard deviation, over the tokens",
    "centred": "each neuron's activations minus their mean over the tokens, in units of activation",
}
COMPONENTS = 50
_EXACT_BELOW = 800
"""A matrix whose shorter side is at most this is decomposed exactly."""
_POWER_ITERATIONS = 7


@dataclass(frozen=True)
class Reduced:
    """Neurons in principal components, largest first."""

    coords: Float32[np.ndarray, "neuron component"]
    """At least two columns; those beyond the rank are zero."""
    explained: Float64[np.ndarray, " component"]
    """Share of the total variance; NaN if all neurons are the same point."""
    solver: str
    rows: Rows

    @property
    def held(self) -> float | None:
        """Share of the variance explained by all components; None if there is no variance."""
        total = float(self.explained.sum())
        return total if np.isfinite(total) else None

    @property
    def n_points(self) -> int:
        """Number of distinct points."""
        return len(np.unique(self.coords, axis=0))


def prepare(acts: Float32[np.ndarray, "neuron token"], rows: Rows) -> Float32[np.ndarray, "neuron token"]:
    """A copy with centred or standardised rows, computed without overflow. At least one row; none may be constant."""
    size = np.maximum(acts.max(axis=1, keepdims=True), -acts.min(axis=1, keepdims=True))
    scale = size if rows == "standardised" else size.max(keepdims=True)
    out: np.ndarray = acts / scale
    out -= out.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    if rows == "standardised":
        square = np.einsum("nt,nt->n", out, out, dtype=np.float64, casting="unsafe")[:, None]
        out /= np.sqrt(square / out.shape[1]).astype(np.float32)
    else:
        out *= scale
    return out


def shuffle(x: Float32[np.ndarray, "neuron token"], seed: int) -> None:
    """Shuffle each prepared row independently over the tokens, in place, which removes shared structure.

    Rows keep their mean and standard deviation.
    """
    np.random.default_rng(seed).permuted(x, axis=1, out=x)


def pca(x: Float32[np.ndarray, "neuron token"], rows: Rows, *, seed: int, components: int = COMPONENTS) -> Reduced:
    """Up to `components` principal components of prepared rows; `x` is overwritten.

    The token with the largest |weight| in a component has a positive weight. Large matrices are decomposed by a seeded
    randomised method: the first components are accurate, and shares are of the exact total variance.
    """
    n, k = len(x), min(components, *x.shape)
    size = max(float(x.max()), -float(x.min())) or 1.0
    x /= size
    x -= x.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
    total = float(np.einsum("nt,nt->", x, x, dtype=np.float64, casting="unsafe"))
    if total <= 1e-12 * x.size:
        undefined = np.full(max(k, 2), np.nan)
        return Reduced(np.zeros((n, max(k, 2)), np.float32), undefined, "none: all neurons are the same", rows)
    u, s, v, solver = _decompose(x, k, seed)
    sign = np.sign(v[np.arange(k), np.abs(v).argmax(axis=1)])
    coords = u[:, :k] * (s[:k] * np.where(sign == 0, 1, sign) * size)
    explained = np.square(s[:k].astype(np.float64)) / total
    if k < 2:
        coords, explained = np.hstack([coords, np.zeros((n, 1))]), np.append(explained, 0.0)
    return Reduced(coords.astype(np.float32), explained, solver, rows)


def tsne(reduced: Reduced, *, perplexity: float, seed: int) -> Float32[np.ndarray, "neuron 2"]:
    """t-SNE of the PCA-reduced neurons, initialised with their first two components.

    Only neighbourhoods are meaningful, not distances between groups or their sizes. `perplexity` must be at most
    `largest_perplexity`.
    """
    from sklearn.manifold import TSNE

    spread = float(reduced.coords[:, 0].std()) or 1.0
    start = reduced.coords[:, :2] / spread * 1e-4
    points: np.ndarray = TSNE(
        n_components=2, perplexity=perplexity, init=start, learning_rate="auto", random_state=seed
    ).fit_transform(reduced.coords)
    return points.astype(np.float32)


def largest_perplexity(n: int) -> int:
    """A third of the available neighbours; below 1, t-SNE is undefined."""
    return (n - 1) // 3


def _decompose(
    x: Float32[np.ndarray, "neuron token"], k: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    if min(x.shape) <= _EXACT_BELOW:
        u, s, v = np.linalg.svd(x, full_matrices=False)
        return u[:, :k], s[:k], v[:k], "exact"
    from sklearn.utils.extmath import randomized_svd

    u, s, v = randomized_svd(x, k, n_iter=_POWER_ITERATIONS, random_state=seed)
    return u, s, v, f"randomised, {_POWER_ITERATIONS} power iterations"
