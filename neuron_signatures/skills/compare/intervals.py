"""Intervals and p-values from draws; every function works on many columns at once, and undefined is NaN."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

_ROUNDING = 1e-9


class Null(NamedTuple):
    mean: Float64[np.ndarray, "..."]
    sd: Float64[np.ndarray, "..."]
    p: Float64[np.ndarray, "..."]
    n: Float64[np.ndarray, "..."]
    """Draws that are defined."""


def centred_interval(
    value: Float64[np.ndarray, "..."], draws: Float64[np.ndarray, "draw ..."]
) -> tuple[Float64[np.ndarray, "..."], Float64[np.ndarray, "..."]]:
    """95 % of the bootstrap draws, moved so that their mean is the value.

    A sample of a sample is noisier than the sample, and noise makes two groups less alike: the draws lie below the
    value, so their percentiles as they are would be too low.
    """
    low, mean, high = _percentile(draws, 2.5), _mean(draws), _percentile(draws, 97.5)
    return value + low - mean, value + high - mean


def null_of(value: Float64[np.ndarray, "..."], draws: Float64[np.ndarray, "draw ..."], *, at_most: bool) -> Null:
    """Mean, standard deviation, and p = (1 + draws that are at most (or at least) the value) / (1 + draws)."""
    defined = np.isfinite(draws)
    n = defined.sum(axis=0).astype(np.float64)
    slack = _ROUNDING * np.maximum(np.abs(value), 1e-300)
    extreme = draws <= value + slack if at_most else draws >= value - slack
    p = np.where(np.isfinite(value) & (n > 0), (1 + (extreme & defined).sum(axis=0)) / (1 + n), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return Null(_mean(draws), np.where(n > 1, np.nanstd(draws, axis=0, ddof=1), np.nan), p, n)


def percentiles(draws: Float64[np.ndarray, "draw ..."]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, and the middle 95 %."""
    return _mean(draws), _percentile(draws, 2.5), _percentile(draws, 97.5)


def _mean(draws: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns without a value
        return np.asarray(np.nanmean(draws, axis=0)) if len(draws) else np.full(draws.shape[1:], np.nan)


def _percentile(draws: np.ndarray, at: float) -> np.ndarray:
    """Of the draws that are defined, interpolated linearly. `numpy.nanpercentile` (numpy 2.4) does it column by
    column."""
    if not len(draws):
        return np.full(draws.shape[1:], np.nan)
    ordered = np.sort(draws, axis=0)  # NaN last
    last = np.isfinite(draws).sum(axis=0) - 1
    place = np.maximum(last, 0) * at / 100
    below = np.floor(place).astype(np.int64)
    low, high = (
        np.take_along_axis(ordered, i[None], axis=0)[0] for i in (below, np.minimum(below + 1, np.maximum(last, 0)))
    )
    return np.where(last >= 0, low + (place - below) * (high - low), np.nan)
