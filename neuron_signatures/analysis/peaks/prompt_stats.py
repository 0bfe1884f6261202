"""One prompt's activations in, a few numbers per neuron out: peaks, extremes, moments. Arrays only.

Values that are not finite are ignored and counted, so that a NaN is never a peak and never sorts first.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Integer


class PromptStats(NamedTuple):
    """One prompt, per neuron. Positions count from the first row given; ties go to the earliest.

    A neuron without a finite value has `n_finite` 0, `peak` -1 and `poles` -inf.
    """

    peak: Float32[np.ndarray, " neuron"]
    """Largest |act|."""
    pos: Int32[np.ndarray, " neuron"]
    poles: Float32[np.ndarray, "2 neuron"]
    """Largest act, and largest -act."""
    n_finite: Int32[np.ndarray, " neuron"] | int
    """How many values are finite; one number if all are."""
    sum: Float[np.ndarray, " neuron"]
    sum2: Float[np.ndarray, " neuron"]
    """Sums of (act - shift) and of its square."""
    n_above: Integer[np.ndarray, " neuron"]


def prompt_stats(
    acts: Float32[np.ndarray, "pos neuron"], shift: Float32[np.ndarray, " neuron"], *, threshold: float
) -> PromptStats:
    """Peak, extremes, moments about `shift`, and how many |act| are above `threshold`. At least one position.

    `shift` keeps the digits of the spread where the mean is large against it; any value near the mean will do.
    """
    centred = acts - shift
    # float32 adds a few hundred numbers well enough, and thrice as fast
    precision = np.float32 if len(acts) <= 256 else np.float64
    sum2 = np.einsum("pn,pn->n", centred, centred, dtype=precision)
    if not np.isfinite(sum2).all():
        return _with_gaps(acts, shift, threshold)
    size = np.abs(acts)
    poles = np.stack([acts.max(axis=0), -acts.min(axis=0)])
    peak = poles.max(axis=0)
    return PromptStats(
        peak=peak,
        pos=first_position(size == peak),
        poles=poles,
        n_finite=len(acts),
        sum=centred.sum(axis=0, dtype=precision),
        sum2=sum2,
        n_above=count_positions(size > threshold),
    )


def _with_gaps(acts: np.ndarray, shift: np.ndarray, threshold: float) -> PromptStats:
    finite = np.isfinite(acts)
    size = np.where(finite, np.abs(acts), -1)
    centred = np.where(finite, acts, shift).astype(np.float64) - shift
    peak = size.max(axis=0)
    poles = [np.where(finite, v, -np.inf).max(axis=0) for v in (acts, -acts)]
    return PromptStats(
        peak=peak.astype(np.float32),
        pos=first_position(size == peak),
        poles=np.stack(poles).astype(np.float32),
        n_finite=finite.sum(axis=0, dtype=np.int32),
        sum=centred.sum(axis=0),
        sum2=np.square(centred).sum(axis=0),
        n_above=count_positions(size > threshold),
    )


def first_position(hit: Bool[np.ndarray, "pos neuron"]) -> Int32[np.ndarray, " neuron"]:
    """The first position that is hit, per neuron; the number of positions if none is.

    Several times faster than `argmax(axis=0)`: the largest of weights that fall with the position.
    """
    n = len(hit)
    best = (hit.view(np.uint8) * _falling(n)).max(axis=0)
    return n - best.astype(np.int32)  # type: ignore[no-any-return]


def count_positions(hit: Bool[np.ndarray, "pos neuron"]) -> Integer[np.ndarray, " neuron"]:
    """How many positions are hit, per neuron, in the smallest unsigned type that holds it."""
    return hit.view(np.uint8).sum(axis=0, dtype=np.min_scalar_type(len(hit)))  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=64)
def _falling(n: int) -> Integer[np.ndarray, "pos 1"]:
    return np.arange(n, 0, -1).astype(np.min_scalar_type(n))[:, None]
