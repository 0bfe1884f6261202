"""Chance of a count, and which of many such chances are small: binomial tails and Benjamini-Hochberg q-values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Integer


def binomial_tail(
    times: Integer[np.ndarray, " n"], of: Integer[np.ndarray, " n"], rate: Float[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """P(X ≥ `times`) for X ~ Binomial(`of`, `rate`); 1 where `times` is 0. Requires `times` ≤ `of`.

    Where the trials have different rates with this mean, it is an upper bound for `times` ≥ of · rate + 1
    (Hoeffding 1956).
    """
    some = np.maximum(times, 1)
    return np.where(times > 0, special.betainc(some, np.maximum(of - some + 1, 1), rate), 1.0)


def shown_p(p: float | None, n_draws: float | None, digits: str = ".2g", *, sides: int = 1) -> str:
    """A p of random draws; the smallest that so many draws can give is shown as a bound. "-" where undefined."""
    if p is None or math.isnan(p):
        return "-"
    smallest = 0.0 if n_draws is None or math.isnan(n_draws) else sides / (1 + n_draws)
    return f"≤ {smallest:{digits}}" if p <= smallest * 1.0001 else f"{p:{digits}}"


def benjamini_hochberg(p: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """q-values: the smallest false discovery rate at which each test is a discovery. NaN, not counted, where p is.

    Benjamini and Hochberg 1995. The smallest p must be able to fall below (wanted q) / (number of tests), which the
    share of a few hundred random draws cannot.
    """
    q = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    n = len(order)
    scaled = p[order].astype(np.float64) * n / np.arange(1, n + 1)
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return q
