"""Mean and standard deviation of a sample, in parts that merge without loss of digits.

Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Integer

    Values = float | np.floating | Float[np.ndarray, "..."]
    Counts = int | Integer[np.ndarray, "..."]


class MeanStd(NamedTuple):
    """Mean and population standard deviation; NaN for an empty sample. 0-d arrays for a single sample."""

    mean: Float64[np.ndarray, "..."]
    std: Float64[np.ndarray, "..."]


class Moments(NamedTuple):
    """Size, mean and sum of squared deviations of a sample: one sample, or an array of them (one per neuron).

    The moments of an empty sample are `EMPTY`; `merge` and `mean_std` accept them.
    """

    n: Counts
    mean: Values
    squares: Values
    """Σ (x - mean)²."""

    def merge(self, other: Moments) -> Moments:
        """The moments of both samples together."""
        n = self.n + other.n
        share = other.n / np.maximum(n, 1)
        step = other.mean - self.mean
        return Moments(n, self.mean + step * share, self.squares + other.squares + step * step * (self.n * share))

    def mean_std(self) -> MeanStd:
        n = np.where(np.greater(self.n, 0), self.n, np.nan)
        return MeanStd(np.asarray(self.mean + 0 * n), np.asarray(np.sqrt(self.squares / n)))


EMPTY = Moments(0, 0.0, 0.0)


def moments(values: Float[np.ndarray, "row *rest"], *, where: Bool[np.ndarray, "row *rest"] | None = None) -> Moments:
    """Moments over the first axis of `values`, in float64; `where` selects the values that count.

    The values that count must be finite. No float64 copy of `values` is made.
    """
    n = len(values) if where is None else where.sum(axis=0)
    selected = values if where is None else np.where(where, values, 0)
    mean = selected.sum(axis=0, dtype=np.float64) / np.maximum(n, 1)
    away = values - mean.astype(values.dtype)
    if where is not None:
        away = np.where(where, away, 0)
    squares = np.einsum("p...,p...->...", away, away, dtype=np.float64)
    total = away.sum(axis=0, dtype=np.float64)  # not 0, because the mean is rounded to the dtype of `values`
    return Moments(n, mean, np.maximum(squares - total * total / np.maximum(n, 1), 0))


def moments_from_sums(n: Counts, total: Values, squares: Values, *, shift: Values) -> Moments:
    """Moments of `n` values x from total = Σ (x - shift) and squares = Σ (x - shift)².

    `shift` may be any value near the mean; the further it is, the more digits of the standard deviation are lost.
    """
    away = np.asarray(total, dtype=np.float64) / np.maximum(n, 1)
    return Moments(n, shift + away, np.maximum(squares - total * away, 0))
