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
    acts_a: Float32[np.ndarray, "token a"], acts_b: Float32[np.ndarray, "token b"], table: Float32[np.ndarray, "a b"],
    null_high: Float64[np.ndarray, " b"], *, no_match: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    """One row per neuron of `b`: the columns of `matches` from `neuron` on. `no_match` are its constant neurons.

    Correlations of the matches are computed again in float64.
    """
    n_a, n_b = table.shape
    best = table.argmax(axis=0)
    rows, columns = linear_sum_assignment(table, maximize=True)
    assigned = np.full(n_b, -1)
    assigned[columns] = rows
    best_correlation, assigned_correlation = (_correlations_with(acts_a, acts_b, m) for m in (best, assigned))
    rank = np.full(n_b, -1)
    shared = np.arange(min(n_a, n_b))
    rank[shared] = (table[:, shared] > table[shared, shared]).sum(axis=0) + 1 if n_a == n_b else -1
    known = ~no_match
    return pd.DataFrame({
        "neuron": np.arange(n_b), "best_neuron": _integers(best, known),
        "best_correlation": np.where(known, best_correlation, np.nan), "null_high": np.where(known, null_high, np.nan),
        "assigned_neuron": _integers(assigned, known & (assigned >= 0) & ~np.isnan(assigned_correlation)),
        "assigned_correlation": np.where(known, assigned_correlation, np.nan),
        "same_index_rank": _integers(rank, known & (rank > 0)),
    })  # fmt: skip


def _correlations_with(
    a: Float32[np.ndarray, "token a"], b: Float32[np.ndarray, "token b"], partner: Int64[np.ndarray, " b"]
) -> Float64[np.ndarray, " b"]:
    found = pearson(a[:, np.maximum(partner, 0)], b)
    return np.where(partner >= 0, found, np.nan)


def _integers(values: np.ndarray, known: np.ndarray) -> pd.Series:
    return pd.Series(values, dtype="Int32").where(known)
