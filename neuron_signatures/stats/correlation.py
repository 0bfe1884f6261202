"""Correlation of two samples; None where it is undefined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scipy import stats  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float64


def pearson(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]) -> float | None:
    """Pearson's r; None for fewer than two values or a constant sample."""
    return float(stats.pearsonr(x, y).statistic) if _varies(x) and _varies(y) else None


def spearman(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]) -> float | None:
    """Spearman's rho, ties with average ranks; None for fewer than two values or a constant sample."""
    return pearson(stats.rankdata(x), stats.rankdata(y))


def _varies(x: Float64[np.ndarray, " n"]) -> bool:
    return len(x) > 1 and bool((x != x[0]).any())
