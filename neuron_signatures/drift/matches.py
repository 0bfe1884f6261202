"""Neurons of two runs matched across indices, within a layer, by the correlation of their activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, Int64
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from neuron_signatures.drift.measures import pearson

MOST_DRAWS = 100
"""Permutations of the tokens: each is a product of all neurons with all."""
_HIGH = 95


@dataclass(frozen=True, eq=False)
class Standardised:
    """Columns with mean 0 and norm 1 in float32; constant ones are 0."""

    values: Float32[np.ndarray, "token neuron"]

    @classmethod
    def of(cls, acts: Float32[np.ndarray, "token neuron"]) -> Standardised:
        x = acts - acts.mean(axis=0, dtype=np.float64).astype(np.float32)
        norm = np.sqrt(np.einsum("ij,ij->j", x, x, dtype=np.float64))
        x[:, (acts == acts[0]).all(axis=0) | (norm == 0)] = 0
        x /= np.where(norm > 0, norm, 1).astype(np.float32)
        return cls(x)

    @property
    def constant(self) -> np.ndarray:
        return np.asarray(~self.values.any(axis=0))


def correlations(a: Standardised, b: Standardised) -> Float32[np.ndarray, "a b"]:
    """Of all neurons of `a` with all of `b`; 0 for constant ones."""
    return np.asarray(a.values.T @ b.values)


def null_of_best(
    a: Standardised, b: Standardised, *, n_draws: int, rng: np.random.Generator
) -> Float64[np.ndarray, " b"]:
    """95th percentile, per neuron of `b`, of its best correlation when the tokens of `a` are permuted."""
    best = np.empty((n_draws, b.values.shape[1]), np.float32)
    for draw in range(n_draws):
        best[draw] = correlations(Standardised(a.values[rng.permutation(len(a.values))]), b).max(axis=0)
    return np.asarray(np.percentile(best, _HIGH, axis=0), np.float64)


def matched(
    acts_a: Float32[np.ndarray, "token a"], acts_b: Float32[np.ndarray, "token b"], a: Standardised, b: Standardised,
    table: Float32[np.ndarray, "a b"], null_high: Float64[np.ndarray, " b"],
) -> pd.DataFrame:  # fmt: skip
    """One row per neuron of `b`: the columns of `matches` from `neuron` on.

    Neurons that do not vary have no match and are none. Correlations of the matches are computed again in float64.
    """
    n_a, n_b = table.shape
    rows, columns = np.flatnonzero(~a.constant), np.flatnonzero(~b.constant)
    best, assigned = np.full(n_b, -1), np.full(n_b, -1)
    if len(rows) and len(columns):
        varying = table[np.ix_(rows, columns)]
        best[columns] = rows[varying.argmax(axis=0)]
        i, j = linear_sum_assignment(varying, maximize=True)
        assigned[columns[j]] = rows[i]
    return pd.DataFrame({
        "neuron": np.arange(n_b), "best_neuron": _integers(best),
        "best_correlation": _correlations_with(acts_a, acts_b, best),
        "null_high": np.where(best >= 0, null_high, np.nan), "assigned_neuron": _integers(assigned),
        "assigned_correlation": _correlations_with(acts_a, acts_b, assigned),
        "same_index_rank": _integers(_rank_of_same(table, rows, columns) if n_a == n_b else np.full(n_b, -1)),
    })  # fmt: skip


def _rank_of_same(
    table: Float32[np.ndarray, "a b"], rows: Int64[np.ndarray, " rows"], columns: Int64[np.ndarray, " columns"]
) -> Int64[np.ndarray, " b"]:
    """1 if no varying neuron of a correlates more than that of the same index; -1 where one does not vary."""
    rank = np.full(table.shape[1], -1)
    both = np.intersect1d(rows, columns)
    rank[both] = (table[np.ix_(rows, both)] > table[both, both]).sum(axis=0) + 1
    return rank


def _correlations_with(
    a: Float32[np.ndarray, "token a"], b: Float32[np.ndarray, "token b"], partner: Int64[np.ndarray, " b"]
) -> Float64[np.ndarray, " b"]:
    found = pearson(a[:, np.maximum(partner, 0)], b)
    return np.where(partner >= 0, found, np.nan)


def _integers(values: np.ndarray) -> pd.Series:
    """Null where negative."""
    return pd.Series(values, dtype="Int32").where(values >= 0)
