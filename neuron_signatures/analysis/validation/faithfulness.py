"""Metrics of how well a ranking of neurons agrees with ablations. Arithmetic only; no model.

m(C) is the target function with all neurons of the measured layers M ablated except those of C.

    faithfulness(C) = (m(C) - m(∅)) / (m(M) - m(∅))      completeness(C) = the same of M without C

CPR = ∫ faithfulness dk (higher is better), CMD = ∫ |1 - faithfulness| dk (0 is best), with k the share of neurons kept;
see arXiv 2504.13151.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from neuron_signatures.stats.correlation import pearson, spearman

# Float32 forward passes of one prompt in different batches differ by less than this share of the logits, because sums
# are computed in another order. Smaller differences of the target function are treated as noise.
FLOAT32_NOISE = 1e-5

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Correlation(NamedTuple):
    """Agreement of scores with true effects over n neurons; None if undefined (constant, or fewer than 2 values)."""

    pearson: float | None
    spearman: float | None
    n: int


@dataclass(frozen=True)
class Control:
    """A set against layer-matched random sets of its size.

    `p` = (1 + number of random sets that keep at least as much, within rounding) / (1 + number of random sets);
    `random_mean`, `random_std`, `low` and `high` (5th and 95th percentile) are of the random sets; `z` is the distance
    of the set from their mean in standard deviations, None if they do not vary. p is 1 if the set consists of whole
    layers, because every random set is then the same set.
    """

    k: int
    observed: float
    random_mean: float
    random_std: float
    low: float
    high: float
    n_random: int
    p: float
    z: float | None


def correlate(scores: Float64[np.ndarray, " n"], effects: Float64[np.ndarray, " n"]) -> Correlation:
    """Pearson and Spearman (average ranks) over the neurons where both are finite."""
    finite = np.isfinite(scores) & np.isfinite(effects)
    x, y = scores[finite], effects[finite]
    return Correlation(pearson(x, y), spearman(x, y), len(x))


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


def control(k: int, observed: float, random: Sequence[float], *, tolerance: float) -> Control:
    """Compare `observed` with the values of random sets of the same size; values within `tolerance` count as equal."""
    values = np.asarray(random, dtype=np.float64)
    low, high = np.percentile(values, [5, 95])
    mean, spread = float(values.mean()), float(values.std())
    varies = spread > tolerance
    at_least = int((values >= observed - tolerance).sum())
    return Control(
        k=k,
        observed=float(observed),
        random_mean=mean,
        random_std=spread,
        low=float(low),
        high=float(high),
        n_random=len(values),
        p=(1 + at_least) / (1 + len(values)),
        z=(float(observed) - mean) / spread if varies else None,
    )


def takes_whole_layers(members: Int64[np.ndarray, " k"], layer_of: Int64[np.ndarray, " n"]) -> bool:
    """Whether `members` consists of whole layers, so that no other set is layer-matched to it."""
    return int(np.isin(layer_of, layer_of[members]).sum()) == len(members)


def layer_matched(
    members: Int64[np.ndarray, " k"], layer_of: Int64[np.ndarray, " n"], n_sets: int, rng: np.random.Generator
) -> list[Int64[np.ndarray, " k"]]:
    """Random sets with as many units of each layer as `members`; units are indices into `layer_of`."""
    layers, counts = np.unique(layer_of[members], return_counts=True)
    pools = [np.flatnonzero(layer_of == layer) for layer in layers]
    return [
        np.concatenate([rng.choice(pool, size=c, replace=False) for pool, c in zip(pools, counts, strict=True)])
        for _ in range(n_sets)
    ]


def _noise(empty: float, full: float) -> float:
    return FLOAT32_NOISE * max(1.0, abs(empty), abs(full))
