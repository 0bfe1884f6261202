"""Scales of activations: a neuron's spread over a run, and limits that a few large values do not set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

NEURON_PERCENTILE = 99.9
"""Of one neuron's |act| over a run: the largest value of a small run, also of a neuron that is rarely active."""
MAP_PERCENTILE = 99.0
"""Of the cells of a map: massive activations of a few neurons do not set its limit."""
_ALWAYS = 0.9
_FEWEST = 10


class Spread(NamedTuple):
    """The finite activations of a neuron at the included tokens of a run."""

    n: int
    n_positive: int
    n_negative: int
    mean: float
    std: float
    """Population standard deviation."""

    @property
    def always_on(self) -> str:
        """`+` or `-` for a neuron with this sign at 90 % of at least ten tokens and a mean beyond its spread."""
        if self.n < _FEWEST or abs(self.mean) < self.std:
            return ""
        if self.n_positive >= _ALWAYS * self.n:
            return "+"
        return "-" if self.n_negative >= _ALWAYS * self.n else ""

    def always_on_text(self, where: str = "the run") -> str:
        """A sentence for a neuron that is always on; empty for others. `where` are its tokens."""
        if not self.always_on:
            return ""
        word, n = ("positive", self.n_positive) if self.always_on == "+" else ("negative", self.n_negative)
        return f"always on: {word} at {n} of {self.n} tokens of {where}, mean {self.mean:+.3g}, std {self.std:.3g}"


class Limit(NamedTuple):
    """Full scale of colours or bars."""

    value: float
    """0 if there is no value other than 0."""
    percentile: float
    n_beyond: int
    """Number of values with a larger magnitude; viewers mark them."""


ScaleOf = Literal["run", "prompt", "records"]
"""What the full colour is the largest value of: the run's prompts, each prompt or window, or a corpus."""


def records_limit(smallest: float, largest: float, spread: Spread | None = None) -> Limit:
    """The largest |activation| over a corpus; with a spread, the largest distance from the mean in std."""
    if spread is None or not spread.std:
        return Limit(max(abs(smallest), abs(largest)), 100.0, 0)
    return Limit(max(abs(smallest - spread.mean), abs(largest - spread.mean)) / spread.std, 100.0, 0)


def spread_of(values: Float32[np.ndarray, " token"]) -> Spread | None:
    """The spread of a neuron's included values, computed in float64; None without a finite value."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return None
    positive, negative = int((finite > 0).sum()), int((finite < 0).sum())
    return Spread(finite.size, positive, negative, float(finite.mean()), float(finite.std()))


def relative(values: Float32[np.ndarray, " token"], spread: Spread | None) -> Float64[np.ndarray, " token"]:
    """(value - mean) / std for each value; NaN if the spread is unknown or zero."""
    if spread is None or spread.std == 0:
        return np.full(values.shape, np.nan)
    return (values.astype(np.float64) - spread.mean) / spread.std


def strength(share: float) -> float:
    """Strength of a colour, 0 to 1, for a share of the full scale: log10(1 + 9 share), which shows small values."""
    return math.log10(1 + 9 * min(max(share, 0.0), 1.0))


def limit_of(values: np.ndarray, percentile: float) -> Limit:
    """The `percentile` of the magnitudes of the finite values, as one of the values themselves.

    If that is 0 although some values are not, the largest magnitude.
    """
    size = np.abs(values[np.isfinite(values)]).astype(np.float64)
    if not size.size:
        return Limit(0.0, percentile, 0)
    value = float(np.percentile(size, percentile, method="higher")) or float(size.max())
    return Limit(value, percentile, int((size > value).sum()))
