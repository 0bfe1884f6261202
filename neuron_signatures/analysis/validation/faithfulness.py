"""How much of the target function a set of neurons keeps, as shares and areas. Arithmetic only; no model.

m(C) is the target function with all neurons of the measured layers M ablated except those of C.

    faithfulness(C) = (m(C) - m(∅)) / (m(M) - m(∅))      completeness(C) = the same of M without C

CPR = ∫ faithfulness dk (higher is better), CMD = ∫ |1 - faithfulness| dk (0 is best), with k the share of neurons kept;
see arXiv 2504.13151.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

# Float32 forward passes of one prompt in different batches differ by less than this share of the logits, because sums
# are computed in another order. Smaller differences of the target function are treated as noise.
FLOAT32_NOISE = 1e-5

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def curve_sizes(n: int) -> list[int]:
    """Set sizes for the shares of `SHARES` of n neurons, rounded up, without repeats."""
    return sorted({max(1, math.ceil(share * n - 1e-9)) for share in SHARES})


def normalised(values: Sequence[float], *, empty: float, full: float) -> Float64[np.ndarray, " n"]:
    """(m - m(∅)) / (m(M) - m(∅))."""
    return (np.asarray(values, dtype=np.float64) - empty) / (full - empty)


def is_scored(*, empty: float, full: float, min_effect: float) -> bool:
    """Whether sets can be scored: m(M) exceeds m(∅) by at least `min_effect`, and by more than rounding.

    Otherwise the denominator of faithfulness is close to zero or negative, and shares of it mean nothing.
    """
    return full - empty >= max(min_effect, _noise(empty, full))


def tolerance(*, empty: float, full: float) -> float:
    """`FLOAT32_NOISE` in units of faithfulness: values that differ by less count as equal."""
    return _noise(empty, full) / abs(full - empty)


def cpr(sizes: Sequence[int], faithfulness: Sequence[float], n: int) -> float:
    """∫ f dk over shares 0..1 by the trapezoid rule; f is 0 at share 0, because nothing is kept."""
    return float(np.trapezoid([0.0, *faithfulness], [0.0, *(k / n for k in sizes)]))


def cmd(sizes: Sequence[int], faithfulness: Sequence[float], n: int) -> float:
    """∫ |1 - f| dk, with |1 - f| = 1 at share 0."""
    gaps = np.abs(1 - np.asarray(faithfulness, dtype=np.float64))
    return float(np.trapezoid([1.0, *gaps], [0.0, *(k / n for k in sizes)]))


def _noise(empty: float, full: float) -> float:
    return FLOAT32_NOISE * max(1.0, abs(empty), abs(full))
