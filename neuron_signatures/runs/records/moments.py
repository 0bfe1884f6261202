"""Moments of neurons: merged over the parts of a corpus, and as the numbers that are shown.

Central moments of a union: Pébay 2008, "Formulas for robust, one-pass parallel computation of covariances and
arbitrary-order statistical moments", with the moments of every part shifted to the common mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NeuronMoments:
    """Moments of one neuron's activations. None where undefined: no values, or no spread.

    `std` is that of the population; `kurtosis` is m4/m2² (3 for a normal distribution, not the excess).
    """

    count: int
    mean: float | None
    std: float | None
    skewness: float | None
    kurtosis: float | None


@dataclass(frozen=True, eq=False)
class LayerMoments:
    """As `NeuronMoments`, for all neurons of a layer; NaN where undefined."""

    count: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    skewness: np.ndarray
    kurtosis: np.ndarray

    def neuron(self, i: int) -> NeuronMoments:
        values = (float(a[i]) for a in (self.mean, self.std, self.skewness, self.kurtosis))
        return NeuronMoments(int(self.count[i]), *(v if np.isfinite(v) else None for v in values))


@dataclass(frozen=True, eq=False)
class CentralMoments:
    """Count, mean and central moments (averages of (x - mean)^k); the last axis is `part`."""

    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    m3: np.ndarray
    m4: np.ndarray


def merged(parts: CentralMoments) -> LayerMoments:
    """The moments over the last axis together."""
    n = parts.count.astype(np.float64)
    total = n.sum(axis=-1)
    share = n / np.maximum(total, 1)[..., None]
    mean = (share * parts.mean).sum(axis=-1)
    away = np.where(n > 0, parts.mean - mean[..., None], 0.0)
    m2 = (share * (parts.m2 + away**2)).sum(axis=-1)
    m3 = (share * (parts.m3 + 3 * away * parts.m2 + away**3)).sum(axis=-1)
    m4 = (share * (parts.m4 + 4 * away * parts.m3 + 6 * away**2 * parts.m2 + away**4)).sum(axis=-1)
    some = np.where(total > 0, 0.0, np.nan)
    spread = np.where((total > 0) & (m2 > 0), m2, np.nan)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        skewness, kurtosis = m3 / spread**1.5, m4 / spread**2
    return LayerMoments(parts.count.sum(axis=-1), mean + some, np.sqrt(m2) + some, skewness, kurtosis)
