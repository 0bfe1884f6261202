"""Rank tests of many columns at once: Mann-Whitney U for two groups, Wilcoxon's signed rank for pairs.

Ranks are computed once per column. Every labelling (which units are in group A, or which differences are reversed) is
then a row of one matrix product, so that a null of many labellings costs little. P-values are two-sided: exact if the
null distribution has fewer than 2^62 outcomes, with ties in small groups only; otherwise normal with the corrections
for ties and continuity (Hollander, Wolfe and Chicken 2014, chapters 3 and 4).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int64

_MOST_OUTCOMES = 1 << 62
"""Outcomes of a null distribution that is counted exactly, in 64-bit integers."""
_CHEAP, _COSTLY = 500_000, 4_000_000
"""Additions that count the null distribution of one pattern of ties (see `_cost`): up to the first limit it is counted
for every column with ties, up to the second for those with a small p. The normal approximation would give a perfect
separation of 8 from 9 values with one tie 8 times the p-value of one without ties."""
_SMALL_P = 0.05


class Ranks(NamedTuple):
    """Ranks of each column from 1, ties with their mean; `ties` is the sum of t³ - t over groups of t equal values."""

    rank: Float64[np.ndarray, "unit column"]
    ties: Float64[np.ndarray, " column"]


class RankTests(NamedTuple):
    """Per labelling and column: the probability that A exceeds B (ties half), and the two-sided p-value."""

    auroc: Float64[np.ndarray, "labelling column"]
    p: Float64[np.ndarray, "labelling column"]


def column_ranks(values: Float[np.ndarray, "unit column"]) -> Ranks:
    """Ranks of finite values within each column."""
    rows = np.ascontiguousarray(values.T)
    n_columns, n = rows.shape
    order = np.argsort(rows, axis=1, kind="stable")
    ranked = np.take_along_axis(rows, order, axis=1)
    first = np.ones((n_columns, n), bool)
    first[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    starts = np.flatnonzero(first)
    sizes = np.diff(starts, append=first.size)
    mean_rank = starts % n + (sizes + 1) / 2
    out = np.empty((n_columns, n))
    np.put_along_axis(out, order, np.repeat(mean_rank, sizes).reshape(n_columns, n), axis=1)
    cubes = sizes.astype(np.float64) ** 3 - sizes
    return Ranks(out.T, np.bincount(starts // n, weights=cubes, minlength=n_columns))


def mann_whitney(ranks: Ranks, in_a: Bool[np.ndarray, "labelling unit"]) -> RankTests:
    """Group A, `in_a`, against the other units; every labelling has the same number of units in A, at least 1."""
    n_a, n = int(in_a[0].sum()), in_a.shape[1]
    n_b = n - n_a
    rank_sum = in_a.astype(np.float64) @ ranks.rank
    u = rank_sum - n_a * (n_a + 1) / 2
    variance = n_a * n_b / 12 * (n + 1 - ranks.ties / (n * (n - 1)))
    p = _normal(u - n_a * n_b / 2, variance)
    tied = ranks.ties > 0
    if math.comb(n, n_a) < _MOST_OUTCOMES:
        p[:, ~tied] = _tails(u_counts(n_a, n_b))[np.rint(u[:, ~tied]).astype(np.int64)]
        small, of_small = (n_a, rank_sum) if n_a <= n_b else (n_b, n * (n + 1) / 2 - rank_sum)
        tied &= (p < _SMALL_P).any(axis=0) | (_cost(n, small) <= _CHEAP)
        if _cost(n, small) <= _COSTLY:
            p[:, tied] = _exact_tied(of_small[:, tied], ranks.rank[:, tied], small)
    return RankTests(u / (n_a * n_b), p)


def signed_rank(differences: Float[np.ndarray, "unit column"], signs: Float[np.ndarray, "labelling unit"]) -> RankTests:
    """Differences A - B of pairs, multiplied by `signs` (1 or -1) per labelling. Zeros are left out of the test, as
    Wilcoxon did; for the probability they count half."""
    n = len(differences)
    magnitude = column_ranks(np.abs(differences))
    n_zero = (differences == 0).sum(axis=0)
    n_used = n - n_zero
    direction = np.sign(differences).astype(np.float64)
    used = np.where(direction, magnitude.rank - n_zero, 0)
    total = n_used * (n_used + 1) / 2
    w = (signs @ (used * direction) + total) / 2
    ties = magnitude.ties - (n_zero.astype(np.float64) ** 3 - n_zero)
    variance = n_used * (n_used + 1) * (2 * n_used + 1) / 24 - ties / 48
    p = _normal(w - total / 2, variance)
    tied = (ties > 0) | (n_zero > 0)
    if 2**n < _MOST_OUTCOMES:
        p[:, ~tied] = _tails(w_counts(n))[np.rint(w[:, ~tied]).astype(np.int64)]
        p[:, tied] = _exact_tied(w[:, tied], used[:, tied], None)
    return RankTests((signs @ direction / n + 1) / 2, p)


def u_counts(n_a: int, n_b: int) -> Int64[np.ndarray, " u"]:
    """Number of labellings with each value of U from 0 to n_a · n_b, without ties: a Gaussian binomial coefficient."""
    small, large = sorted((n_a, n_b))
    counts = np.zeros(n_a * n_b + small + large + 1, np.int64)
    counts[0] = 1
    for i in range(1, small + 1):
        shifted = counts.copy()
        shifted[large + i :] -= counts[: -(large + i)]  # times 1 - x^(large + i)
        for start in range(i):  # divided by 1 - x^i
            shifted[start::i] = np.cumsum(shifted[start::i])
        counts = shifted
    return counts[: n_a * n_b + 1]


def w_counts(n: int) -> Int64[np.ndarray, " w"]:
    """Number of the 2^n patterns of signs with each sum of positive ranks from 0 to n (n + 1) / 2."""
    counts = np.zeros(n * (n + 1) // 2 + 1, np.int64)
    counts[0] = 1
    for i in range(1, n + 1):
        counts[i:] = counts[i:] + counts[:-i]
    return counts


def smallest_p(n_a: int, n_b: int | None) -> float:
    """The p-value of a perfect separation of `n_a` from `n_b` units; of `n_a` pairs if `n_b` is None."""
    outcomes = 2**n_a if n_b is None else math.comb(n_a + n_b, n_a)
    return min(2 / outcomes, 1.0) if outcomes < _MOST_OUTCOMES else 0.0


def _cost(n: int, n_a: int) -> int:
    """Additions of `_pattern_p`."""
    return n * n_a * n * (n + 1)


def _normal(
    distance: Float64[np.ndarray, "labelling column"], variance: Float64[np.ndarray, " column"]
) -> Float64[np.ndarray, "labelling column"]:
    """Of the distance from the mean; 1 where a column has no variance, because all its values are equal."""
    corrected = np.maximum(np.abs(distance) - 0.5, 0)
    z = np.divide(corrected, np.sqrt(variance), out=np.zeros_like(corrected), where=variance > 0)
    p: Float64[np.ndarray, "labelling column"] = np.minimum(2 * special.ndtr(-z), 1)
    return p


def _tails(counts: Int64[np.ndarray, " value"]) -> Float64[np.ndarray, " value"]:
    """The two-sided p-value of each value of a statistic with this null distribution: twice the smaller tail."""
    share = counts / counts.sum(dtype=np.float64)
    p: Float64[np.ndarray, " value"] = np.minimum(2 * np.minimum(np.cumsum(share), np.cumsum(share[::-1])[::-1]), 1)
    return p


def _exact_tied(
    statistic: Float64[np.ndarray, "labelling column"], rank: Float64[np.ndarray, "unit column"], n_a: int | None
) -> Float64[np.ndarray, "labelling column"]:
    """The null distribution depends on the sorted ranks alone, so it is counted once for each pattern of ties."""
    patterns, which = np.unique(np.sort(np.rint(2 * rank.T).astype(np.int16), axis=1), axis=0, return_inverse=True)
    doubled = np.rint(2 * statistic).astype(np.int64)
    p = np.empty(statistic.shape)
    for i, pattern in enumerate(patterns):
        own = which.reshape(-1) == i
        p[:, own] = _pattern_p(pattern.tobytes(), n_a)[doubled[:, own]]
    return p


@functools.lru_cache(maxsize=1 << 10)
def _pattern_p(pattern: bytes, n_a: int | None) -> Float64[np.ndarray, " value"]:
    """P-values by the doubled sum of the ranks of `n_a` units, or of any subset; `pattern` holds the doubled ranks."""
    ranks = np.frombuffer(pattern, np.int16).astype(np.int64)
    size = int(ranks.sum()) + 1
    if n_a is None:
        sums = np.zeros(size, np.int64)
        sums[0] = 1
        for r in ranks.tolist():
            sums[r:] = sums[r:] + sums[: size - r]
        return _tails(sums)
    of_size = np.zeros((n_a + 1, size), np.int64)
    of_size[0, 0] = 1
    for r in ranks.tolist():
        of_size[1:, r:] += of_size[:-1, : size - r].copy()
    return _tails(of_size[n_a])
