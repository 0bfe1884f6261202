"""Correlation of two samples; None where it is undefined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from jaxtyping import Float64


def pearson(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]) -> float | None:
    """Pearson's r; None for fewer than two values or a constant sample."""
    if not (_varies(x) and _varies(y)):
        return None
    return float(np.clip(_standardised(x) @ _standardised(y), -1, 1))


def spearman(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]) -> float | None:
    """Spearman's rho, ties with average ranks; None for fewer than two values or a constant sample."""
    return pearson(stats.rankdata(x), stats.rankdata(y))


def _standardised(x: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Centred, with a norm of 1. Divided by the largest first, so that squares neither overflow nor vanish."""
    centred = np.asarray(x, np.float64) - np.mean(x, dtype=np.float64)
    centred /= np.abs(centred).max()
    found: np.ndarray = centred / np.linalg.norm(centred)
    return found


def _varies(x: Float64[np.ndarray, " n"]) -> bool:
    return len(x) > 1 and bool((x != x[0]).any())
