"""The histogram of a neuron's activations over a corpus, for figures and text."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.records.neuron_files import Histogram


class Bin(NamedTuple):
    """An interval `low <= activation < high`; its ends have the same sign."""

    low: float
    high: float
    n: int
    """Tokens."""
    density: float | None
    """Share of the tokens per unit of activation; None if the interval has no width."""
    beyond: float
    """Share of the tokens that are in this interval or farther from zero on its side."""


class Distribution(NamedTuple):
    """The intervals from the first to the last that holds a token, in ascending order; empty without a token."""

    bins: tuple[Bin, ...]
    n: int
    """Tokens in all intervals. Histograms count an eighth of the windows."""

    @property
    def n_positive(self) -> int:
        """Tokens above the interval around zero."""
        return sum(b.n for b in self.bins if b.low > 0)

    @property
    def n_negative(self) -> int:
        return sum(b.n for b in self.bins if b.high < 0)


def distribution(histogram: Histogram, smallest: float | None, largest: float | None) -> Distribution:
    """`smallest` and `largest`, if known, are the activations at which the open intervals at the ends are closed."""
    counts = np.asarray(histogram.counts, np.int64)
    filled, n = np.flatnonzero(counts), int(counts.sum())
    if not n:
        return Distribution((), 0)
    edges, half = np.asarray(histogram.edges, np.float64), len(counts) // 2
    above, below = counts[::-1].cumsum()[::-1], counts.cumsum()
    bins = []
    for i in range(int(filled[0]), int(filled[-1]) + 1):
        low, high = _closed(float(edges[i]), float(edges[i + 1]), smallest, largest)
        own = int(counts[i])
        density = own / n / (high - low) if high > low else None
        bins.append(Bin(low, high, own, density, int((above if i >= half else below)[i]) / n))
    return Distribution(tuple(bins), n)


def _closed(low: float, high: float, smallest: float | None, largest: float | None) -> tuple[float, float]:
    """The ends of an interval; an infinite one becomes the extreme value, or the finite end if that is not known."""
    if math.isinf(low):
        low = min(high, high if smallest is None else smallest)
    if math.isinf(high):
        high = max(low, low if largest is None else largest)
    return low, high
