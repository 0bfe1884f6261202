"""Area under the ROC curve of many columns at once, with 95 % intervals.

The interval is that of DeLong, DeLong and Clarke-Pearson 1988 on the logit scale. Where its variance is 0 (a perfect
separation, or a column of ties) it is the score interval of Newcombe 2006 (part 2, method 5), which needs the numbers
of observations only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import optimize, special  # type: ignore[import-untyped]

from neuron_signatures.stats.ranks import Ranks, column_ranks

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64

_Z = 1.959964


class Areas(NamedTuple):
    """The probability that an observation of A exceeds another one (ties half), with its interval."""

    auroc: Float64[np.ndarray, " column"]
    low: Float64[np.ndarray, " column"]
    high: Float64[np.ndarray, " column"]


def areas(
    values: Float[np.ndarray, "observation column"], in_a: Bool[np.ndarray, " observation"],
    ranks: Ranks | None = None,
) -> Areas:  # fmt: skip
    """A against the other observations; each of both groups needs two. `ranks` are those of all values, if known."""
    n_a, n_b = int(in_a.sum()), int((~in_a).sum())
    rank = (column_ranks(values) if ranks is None else ranks).rank
    of_a = (rank[in_a] - column_ranks(values[in_a]).rank) / n_b
    of_b = 1 - (rank[~in_a] - column_ranks(values[~in_a]).rank) / n_a
    auroc = np.clip(of_a.mean(axis=0), 0, 1)
    variance = of_a.var(axis=0, ddof=1) / n_a + of_b.var(axis=0, ddof=1) / n_b
    inner = auroc * (1 - auroc)
    usual = (variance > 1e-14) & (inner > 1e-12)
    half = _Z * np.sqrt(np.where(usual, variance, 0)) / np.where(usual, inner, 1)
    centre = special.logit(np.where(usual, auroc, 0.5))
    low, high = special.expit(centre - half), special.expit(centre + half)
    for value in np.unique(auroc[~usual]):
        at = ~usual & (auroc == value)
        low[at], high[at] = score_interval(float(value), n_a, n_b)
    return Areas(auroc, low, high)


def score_interval(auroc: float, n_a: int, n_b: int) -> tuple[float, float]:
    """Newcombe's method 5: the areas whose distance from this one is at most 1.96 of their own standard errors."""
    n = (n_a + n_b) / 2 - 1

    def excess(true: float) -> float:
        variance = true * (1 - true) * (1 + n * ((1 - true) / (2 - true) + true / (1 + true))) / (n_a * n_b)
        return float((auroc - true) ** 2 - _Z**2 * variance)

    low = optimize.brentq(excess, 0, auroc) if excess(0) > 0 and excess(auroc) < 0 else _edge(excess, auroc, 0.0)
    high = optimize.brentq(excess, auroc, 1) if excess(1) > 0 and excess(auroc) < 0 else _edge(excess, auroc, 1.0)
    return float(low), float(high)


def _edge(excess: object, auroc: float, end: float) -> float:
    """At 0 and 1 the variance is 0: the end itself, or the other root."""
    assert callable(excess)
    if abs(auroc - end) < 1e-12:
        return end
    near = auroc + (end - auroc) * 1e-9
    return float(optimize.brentq(excess, near, end))
