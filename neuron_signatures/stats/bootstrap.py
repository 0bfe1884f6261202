"""Bootstrap weights of observations that may share members, and intervals of weighted means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class Intervals(NamedTuple):
    """95 % percentile intervals."""

    low: Float64[np.ndarray, " column"]
    high: Float64[np.ndarray, " column"]


def bootstrap_weights(
    members: Sequence[tuple[str, str]], *, n_draws: int, rng: np.random.Generator
) -> Float64[np.ndarray, "draw observation"]:
    """How often each observation counts in each draw.

    An observation with two named members (a pair of entities) counts as often as the product of how often each was
    drawn, since pairs with an entity in common are not independent (Owen 2007, "The pigeonhole bootstrap"). With empty
    names, observations are drawn themselves. No draw is empty.
    """
    n = len(members)
    if not all(all(m) for m in members):
        return rng.multinomial(n, np.full(n, 1 / n), size=n_draws).astype(np.float64)
    names = sorted({name for pair in members for name in pair})
    index = {name: i for i, name in enumerate(names)}
    a, b = (np.array([index[pair[side]] for pair in members]) for side in (0, 1))
    drawn = np.empty((0, n))
    while len(drawn) < n_draws:
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_draws).astype(np.float64)
        weights = times[:, a] * times[:, b]
        drawn = np.concatenate([drawn, weights[weights.sum(1) > 0]])
    return drawn[:n_draws]


def mean_intervals(
    values: Float64[np.ndarray, "observation column"], weights: Float64[np.ndarray, "draw observation"]
) -> Intervals:
    """Of the weighted mean of each column."""
    means = weights @ values / weights.sum(1, keepdims=True)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return Intervals(low, high)


def median_interval(
    values: Float64[np.ndarray, " observation"], weights: Float64[np.ndarray, "draw observation"]
) -> tuple[float, float]:
    """Of the weighted median (the lower one of two); values may be infinite."""
    order = np.argsort(values, kind="stable")
    cumulative = weights[:, order].cumsum(1)
    at = (cumulative >= cumulative[:, -1:] / 2).argmax(1)
    medians = values[order][at]
    low, high = np.percentile(medians, [2.5, 97.5], method="inverted_cdf")
    return float(low), float(high)
