"""Correlations estimated from a stratified random sample, with bootstrap intervals.

Every unit of a sample stands for 1/π units, where π, the probability that it is drawn, is the share of its stratum that
the sample has. Intervals are of the value over the whole population: a stratum that is in the sample as a whole adds
nothing to them. The bootstrap is that of Rao and Wu 1988 ("Resampling inference with complex survey data"), with the
correction for a finite population.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

# Replicates of an interval, and of a comparison of two correlations.
_INTERVAL_DRAWS, _COMPARISON_DRAWS = 1000, 400
_NORMAL_95 = 1.959964
_LARGEST = 1 - 1e-12  # of |r|, whose Fisher transform is finite
_ROUNDING = 1e-24  # square of the relative rounding error of a mean


@dataclass(frozen=True)
class Strata:
    """The stratum of each sampled unit, and the number of units of each stratum in the population."""

    of: Int64[np.ndarray, " n"]
    sizes: Int64[np.ndarray, " stratum"]

    @property
    def is_census(self) -> bool:
        """Whether every unit of the population is in the sample."""
        return len(self.of) == int(self.sizes.sum())

    @property
    def weights(self) -> Float64[np.ndarray, " n"]:
        """1/π of each unit."""
        taken = np.bincount(self.of, minlength=len(self.sizes))
        weights: Float64[np.ndarray, " n"] = (self.sizes / np.maximum(taken, 1))[self.of]
        return weights


class Estimate(NamedTuple):
    """An estimate with its 95 % interval. `value` is None if it is undefined; `low` and `high` are None with it, and in
    a census, whose value is exact."""

    value: float | None
    low: float | None
    high: float | None


class Correlations(NamedTuple):
    pearson: Estimate
    spearman: Estimate


class Difference(NamedTuple):
    """A difference of two correlations over the same units, with its 95 % interval."""

    value: float
    low: float
    high: float


def one_stratum(n: int) -> Strata:
    """The strata of a census of n units."""
    return Strata(np.zeros(n, np.int64), np.array([n]))


def correlations(
    scores: Sequence[Float64[np.ndarray, " n"]],
    truth: Float64[np.ndarray, " n"],
    strata: Strata,
    rng: np.random.Generator,
) -> list[Correlations]:
    """Pearson and Spearman of each of `scores` with `truth` over the population.

    Spearman is Pearson of the weighted ranks in the sample. Intervals are symmetric on Fisher's scale, with the
    standard deviation of the bootstrap. The end nearer to zero of Spearman's is moved by what the sample may have
    missed, see `_missed`: close to 1, a few units with unrelated ranks decide it, and the bootstrap knows none of them.
    """
    pairs = _Pairs(scores, truth)
    exact = pairs.correlate(strata.weights)
    if strata.is_census:
        return [Correlations(*(Estimate(_known(v), None, None) for v in row)) for row in exact.tolist()]
    drawn = np.stack([pairs.correlate(_rescaled(strata, rng)) for _ in range(_INTERVAL_DRAWS)])
    missed = (0.0, _missed(strata))
    return [
        Correlations(*(_estimate(exact[i, j], drawn[:, i, j], missed[j]) for j in range(2)))
        for i in range(len(pairs.scores))
    ]


def spearman_difference(
    a: Float64[np.ndarray, " n"],
    b: Float64[np.ndarray, " n"],
    truth: Float64[np.ndarray, " n"],
    strata: Strata,
    rng: np.random.Generator,
) -> Difference | None:
    """How much better `a` agrees with `truth` than `b` by Spearman; None if one of them is undefined.

    The bootstrap is paired, and over units: both scores of a unit are drawn together, in every stratum as many units as
    the sample has. Unlike the intervals of `correlations`, it takes the population itself as a sample.
    """
    pairs = _Pairs([a, b], truth)
    found = pairs.correlate(strata.weights)[:, 1]
    drawn = np.stack([pairs.correlate(_redrawn(strata, rng))[:, 1] for _ in range(_COMPARISON_DRAWS)])
    gaps = drawn[:, 0] - drawn[:, 1]
    if not np.isfinite(found).all() or not np.isfinite(gaps).any():
        return None
    low, high = np.nanpercentile(gaps, [2.5, 97.5])
    return Difference(float(found[0] - found[1]), float(low), float(high))


class _Pairs:
    """Scores and their truth, prepared for many weightings."""

    def __init__(self, scores: Sequence[Float64[np.ndarray, " n"]], truth: Float64[np.ndarray, " n"]) -> None:
        self.scores, self._truth = list(scores), truth
        self._ranks, self._true_ranks = [_ranker(s) for s in scores], _ranker(truth)

    def correlate(self, weights: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "score 2"]:
        """Pearson and Spearman of every score; NaN where undefined."""
        true_ranks = self._true_ranks(weights)
        return np.array([
            (_pearson(score, self._truth, weights), _pearson(rank(weights), true_ranks, weights))
            for score, rank in zip(self.scores, self._ranks, strict=True)
        ]).reshape(-1, 2)  # fmt: skip


def _ranker(x: Float64[np.ndarray, " n"]) -> Callable[[Float64[np.ndarray, " n"]], Float64[np.ndarray, " n"]]:
    """Weights -> the weighted ranks of x: the weight of all smaller values plus half of that of equal ones."""
    order = np.argsort(x, kind="stable")
    starts = np.flatnonzero(np.diff(x[order], prepend=np.nan) != 0)
    group = np.empty(len(x), np.int64)
    group[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(x)))

    def ranks(weights: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        of_group = np.bincount(group, weights, len(starts))
        return (np.cumsum(of_group) - of_group / 2)[group]

    return ranks


def _pearson(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, " n"]) -> float:
    total = weights.sum()
    dx, dy = x - (weights @ x) / total, y - (weights @ y) / total
    of_x, of_y = weights @ (dx * dx), weights @ (dy * dy)
    # a constant differs from its mean by rounding
    if of_x <= _ROUNDING * (weights @ (x * x)) or of_y <= _ROUNDING * (weights @ (y * y)):
        return math.nan
    return min(1.0, max(-1.0, float(weights @ (dx * dy)) / math.sqrt(of_x * of_y)))


def _rescaled(strata: Strata, rng: np.random.Generator) -> Float64[np.ndarray, " n"]:
    """Weights of one replicate of Rao and Wu, with n - 1 draws per stratum; constant where a stratum is complete."""
    weights = strata.weights.copy()
    for i, size in zip(_members(strata), strata.sizes, strict=True):
        n = len(i)
        if 1 < n < size:
            share = math.sqrt(1 - n / size)
            times = rng.multinomial(n - 1, np.full(n, 1 / n))
            weights[i] *= 1 - share + share * times * n / (n - 1)
    return weights


def _redrawn(strata: Strata, rng: np.random.Generator) -> Float64[np.ndarray, " n"]:
    """Weights of one ordinary bootstrap replicate within the strata."""
    weights = strata.weights.copy()
    for i in _members(strata):
        if len(i):
            weights[i] *= np.bincount(rng.integers(len(i), size=len(i)), minlength=len(i))
    return weights


def _members(strata: Strata) -> list[Int64[np.ndarray, " _"]]:
    order = np.argsort(strata.of, kind="stable")
    return np.split(order, np.cumsum(np.bincount(strata.of, minlength=len(strata.sizes)))[:-1])


def _missed(strata: Strata) -> float:
    """The largest share of the population that a sample misses with a probability of 5 % (the rule of three)."""
    weight, n = float(strata.weights.max()), int(strata.sizes.sum())
    return min(1.0, math.log(0.05) / math.log1p(-1 / weight) / n) if weight > 1 else 0.0


def _estimate(value: float, drawn: Float64[np.ndarray, " draw"], missed: float) -> Estimate:
    if not math.isfinite(value):
        return Estimate(None, None, None)
    z = np.arctanh(np.clip(drawn[np.isfinite(drawn)], -_LARGEST, _LARGEST))
    centre, spread = math.atanh(min(max(value, -_LARGEST), _LARGEST)), float(z.std()) if len(z) else math.inf
    low, high = math.tanh(centre - _NORMAL_95 * spread), math.tanh(centre + _NORMAL_95 * spread)
    low, high = (low - missed * value, high) if value > 0 else (low, high - missed * value)
    return Estimate(float(value), min(low, value), max(high, value))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
