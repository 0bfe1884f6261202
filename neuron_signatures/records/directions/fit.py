"""Directions of a site: chance, principal components, independent components.

All have norm 1, and `bias` = -mean · d moves their activations to mean 0 over the sample, so that both poles are used.
"""

from __future__ import annotations

import warnings
from typing import Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

from neuron_signatures.runs.errors import UsageError

FitKind = Literal["random", "pca", "ica"]
_ITERATIONS: Final = 1000


class Fitted(NamedTuple):
    """Directions of one place. `note` says what did not go as it should, or is empty."""

    rows: Float32[np.ndarray, "unit width"]
    bias: Float32[np.ndarray, " unit"]
    note: str = ""


def fit(kind: FitKind, values: Float32[np.ndarray, "token width"], n: int, *, seed: int) -> Fitted:
    """`n` directions of the values of a place. Raises `UsageError` if there are not so many."""
    if kind == "random":
        return _centred(_random(n, values.shape[1], seed), values)
    most = min(values.shape)
    if n > most:
        what = f"{n} components of {values.shape[0]:,} tokens of width {values.shape[1]:,}: there are at most {most:,}"
        raise UsageError(what, where="--n", next_step="Lower it, or raise --max_tokens")
    return _pca(values, n, seed) if kind == "pca" else _ica(values, n, seed)


def _random(n: int, width: int, seed: int) -> np.ndarray:
    """Uniform on the sphere."""
    return np.random.default_rng(seed).standard_normal((n, width))


def _pca(values: np.ndarray, n: int, seed: int) -> Fitted:
    """The components of the largest variance, largest first. The heavier tail is the positive pole."""
    from sklearn.decomposition import PCA

    found = PCA(n, svd_solver="full" if max(values.shape) <= 4096 else "auto", random_state=seed).fit(values)
    return _centred(found.components_, values, turn=True)


def _ica(values: np.ndarray, n: int, seed: int) -> Fitted:
    """FastICA (logcosh) on the first `n` principal components. The heavier tail is the positive pole."""
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        found = FastICA(n, whiten="unit-variance", random_state=seed, max_iter=_ITERATIONS, tol=1e-3).fit(values)
    failed = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    fitted = _centred(found.components_, values, turn=True)
    return fitted._replace(note=f"FastICA did not converge in {_ITERATIONS} iterations" if failed else "")


def _centred(rows: np.ndarray, values: np.ndarray, *, turn: bool = False) -> Fitted:
    """Rows of norm 1; with `turn`, of the sign that makes the third moment of their activations positive."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    mean = values.mean(0, dtype=np.float64)
    if turn:
        third = (((values - mean) @ rows.T) ** 3).mean(0)
        rows = rows * np.where(third < 0, -1.0, 1.0)[:, None]
    return Fitted(rows.astype(np.float32), (-(rows @ mean)).astype(np.float32))
