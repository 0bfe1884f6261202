"""Similarities of two groups of texts, from sums over units.

A sum over the units of two banks is the sum of their sums, so that several banks are compared as one long vector with
only one of them in memory. Ranks are of one long vector too: the histogram of counts of all its units gives them.
Undefined similarities (an empty set, a constant vector) are NaN here and null in the tables.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Integer

from neuron_signatures.runs.skills.names import Measure, Vector
from neuron_signatures.skills.compare.prepared import BACKGROUNDS

COLUMNS: Final[tuple[tuple[Measure, Vector], ...]] = (
    ("jaccard", "set"), ("overlap", "set"),
    ("cosine", "log1p_count"), ("pearson", "log1p_count"), ("dot", "log1p_count"),
    ("cosine", "mean"), ("pearson", "mean"), ("dot", "mean"),
    ("spearman", "frequency"),
)  # fmt: skip
"""What is measured; the last one is of ranks, and undefined for the background `idf`."""
RANKED: Final = 2
"""The first two backgrounds have ranks."""
N_SUMS: Final = 13
_CONSTANT: Final = 1e-12
"""Variance of a vector, relative to its mean square, that is rounding."""


class Rows(NamedTuple):
    """What groups of texts are compared by."""

    n_texts: Int64[np.ndarray, "row unit"]
    """Texts of the group in which the unit fires."""
    in_set: Float64[np.ndarray, "row unit"]
    log1p_count: Float64[np.ndarray, "row unit"]
    mean: Float64[np.ndarray, "row unit"]


def rows_of(
    counts: Float64[np.ndarray, "row unit"], totals: Float64[np.ndarray, "row unit"],
    sizes: Float64[np.ndarray, " row"], min_share: float,
) -> Rows:  # fmt: skip
    """From the number of texts in which each unit fires, the sum of its mean activations, and the number of texts."""
    whole = np.rint(counts)
    in_set = (whole >= np.maximum(min_share * sizes[:, None] - 1e-9, 0.5)).astype(np.float64)
    return Rows(whole.astype(np.int64), in_set, np.log1p(whole), totals / sizes[:, None])


def pair_sums(
    rows: Rows, pairs: Int64[np.ndarray, "pair 2"], weights: Float64[np.ndarray, "background unit"]
) -> Float64[np.ndarray, "pair background sum"]:
    """Per pair of rows and background: sizes of both sets and of their intersection, then of both vectors
    Σx, Σy, Σx², Σy², Σxy."""
    a, b = pairs.T
    out = np.empty((len(pairs), len(weights), N_SUMS))
    once, twice = weights.T, (weights**2).T
    of_row = rows.in_set @ once
    out[:, :, 0], out[:, :, 1] = of_row[a], of_row[b]
    out[:, :, 2] = (rows.in_set[a] * rows.in_set[b]) @ once
    for first, x in ((3, rows.log1p_count), (8, rows.mean)):
        total, squares = x @ once, (x * x) @ twice
        out[:, :, first], out[:, :, first + 1] = total[a], total[b]
        out[:, :, first + 2], out[:, :, first + 3] = squares[a], squares[b]
        out[:, :, first + 4] = (x[a] * x[b]) @ twice
    return out


def from_sums(
    sums: Float64[np.ndarray, "pair background sum"], n_units: Int64[np.ndarray, " background"]
) -> Float64[np.ndarray, "pair background column"]:
    """All but the last of `COLUMNS`."""
    a, b, both = (sums[:, :, i] for i in range(3))
    found = [_ratio(both, a + b - both), _ratio(both, np.minimum(a, b))]
    for first in (3, 8):
        x, y, xx, yy, xy = (sums[:, :, first + i] for i in range(5))
        n = np.maximum(n_units, 1)
        sx, sy = (np.where((v := s2 - s * s / n) > _CONSTANT * s2, v, 0) for s, s2 in ((x, xx), (y, yy)))
        pearson = np.clip(_ratio(xy - x * y / n, np.sqrt(sx * sy)), -1, 1)
        dot = np.where(n_units > 0, xy, np.nan)
        found += [np.minimum(_ratio(xy, np.sqrt(xx * yy)), 1), pearson, dot]
    return np.stack(found, axis=-1)


def histograms(
    count: Int64[np.ndarray, "row unit"], n_values: int, weights: Float64[np.ndarray, "background unit"]
) -> Int64[np.ndarray, "ranked row value"]:
    """How many units have each count from 0 to n_values - 1, in the backgrounds with ranks."""
    starts = np.arange(len(count))[:, None] * n_values
    found = []
    for counted in weights[:RANKED] > 0:
        at = (count[:, counted] + starts).ravel()
        found.append(np.bincount(at, minlength=len(count) * n_values).reshape(len(count), n_values))
    return np.stack(found)


def rank_tables(
    histogram: Integer[np.ndarray, "ranked row value"],
) -> Float64[np.ndarray, "ranked row value"]:
    """The average rank of each count, less the mean of all ranks."""
    until = np.cumsum(histogram, axis=-1)
    ranks: np.ndarray = until - histogram + (histogram + 1) / 2 - (until[..., -1:] + 1) / 2
    return ranks


def rank_products(
    count: Int64[np.ndarray, "row unit"], tables: Float64[np.ndarray, "ranked row value"],
    pairs: Int64[np.ndarray, "pair 2"], weights: Float64[np.ndarray, "background unit"],
) -> Float64[np.ndarray, "pair ranked"]:  # fmt: skip
    """Σ of the products of centred ranks."""
    out = np.empty((len(pairs), RANKED))
    a, b = pairs.T
    for i in range(RANKED):
        counted = weights[i] > 0
        ranks = np.take_along_axis(tables[i], count[:, counted], axis=1)
        out[:, i] = np.einsum("pu,pu->p", ranks[a], ranks[b])
    return out


def spearman(
    products: Float64[np.ndarray, "pair ranked"], histogram: Integer[np.ndarray, "ranked row value"],
    tables: Float64[np.ndarray, "ranked row value"], pairs: Int64[np.ndarray, "pair 2"],
) -> Float64[np.ndarray, "pair background"]:  # fmt: skip
    """Spearman's correlation; NaN for the background `idf`."""
    squares = (histogram * tables**2).sum(axis=-1)
    a, b = pairs.T
    out = np.full((len(pairs), len(BACKGROUNDS)), np.nan)
    out[:, :RANKED] = np.clip(_ratio(products, np.sqrt(squares[:, a] * squares[:, b]).T), -1, 1)
    return out


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    out: np.ndarray = np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
    return out
