"""What random draws give, and how a value compares with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Chance:
    """The values of `n` random draws. `low` and `high` are the 5th and 95th percentile, `p` is (1 + b) / (1 + n) with
    the b draws that are at least as extreme as the value they are compared with."""

    mean: float
    sd: float
    low: float
    high: float
    p: float
    n: int


def chance(observed: float, drawn: Sequence[float], *, larger: bool = True, tolerance: float = 0.0) -> Chance | None:
    """Compare `observed` with random draws; extreme is large, or with `larger` false small. None without draws.

    Values within `tolerance` count as equal, and equal values as at least as extreme.
    """
    if not drawn:
        return None
    values = np.asarray(drawn, np.float64)
    sign = 1 if larger else -1
    beyond = int((sign * values >= sign * observed - tolerance).sum())
    low, high = np.percentile(values, [5, 95]).tolist()
    mean, sd = float(values.mean()), float(values.std())
    return Chance(mean, sd, low, high, (1 + beyond) / (1 + len(values)), len(values))
