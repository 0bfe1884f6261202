"""Standardised differences of means, of many columns at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64


class CohensD(NamedTuple):
    """Difference of the means A - B over the pooled standard deviation, and that; `d` is NaN where it is 0."""

    d: Float64[np.ndarray, " column"]
    pooled: Float64[np.ndarray, " column"]


def cohens_d(a: Float64[np.ndarray, "a column"], b: Float64[np.ndarray, "b column"]) -> CohensD:
    """Of two groups with at least three observations together."""
    n_a, n_b = len(a), len(b)
    pooled = np.sqrt(((n_a - 1) * _variance(a) + (n_b - 1) * _variance(b)) / (n_a + n_b - 2))
    return CohensD(_ratio(a.mean(axis=0) - b.mean(axis=0), pooled), pooled)


def paired_d(differences: Float64[np.ndarray, "pair column"]) -> Float64[np.ndarray, " column"]:
    """Mean difference over the standard deviation of the differences; NaN where that is 0."""
    return _ratio(differences.mean(axis=0), differences.std(axis=0, ddof=1))


def _variance(values: Float64[np.ndarray, "row column"]) -> Float64[np.ndarray, " column"]:
    found: np.ndarray = values.var(axis=0, ddof=1)
    return found


def _ratio(
    top: Float64[np.ndarray, " column"], bottom: Float64[np.ndarray, " column"]
) -> Float64[np.ndarray, " column"]:
    ratio: Float64[np.ndarray, " column"] = np.full(len(top), np.nan)
    np.divide(top, bottom, out=ratio, where=bottom > 0)
    return ratio
