"""Statistics of one prompt's activations, per neuron: peaks, extremes, moments. Arrays only.

NaN and infinite values are ignored, and their number is reported.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, Integer

from neuron_signatures.stats.moments import Moments, moments, moments_from_sums


class PromptStats(NamedTuple):
    """Statistics per neuron. Positions are rows of the input; ties go to the earliest.

    A neuron without a finite value has `n_finite` 0, `peak` -1 and `poles` -inf.
    """

    peak: Float32[np.ndarray, " neuron"]
    """Largest |act|."""
    pos: Int32[np.ndarray, " neuron"]
    poles: Float32[np.ndarray, "2 neuron"]
    """Largest act, and largest -act."""
    n_finite: Int32[np.ndarray, " neuron"] | int
    """Number of finite values; a single number if all are finite."""
    moments: Moments
    """Of the finite values."""
    n_above: Integer[np.ndarray, " neuron"]


def prompt_stats(
    acts: Float32[np.ndarray, "pos neuron"], shift: Float32[np.ndarray, " neuron"], *, threshold: float
) -> PromptStats:
    """Peak, extremes, moments, and the number of |act| above `threshold`. Requires at least one position.

    `shift` is any value near each neuron's mean: sums about it keep their digits in float32.
    """
    centred = acts - shift
    # float32 is precise enough for sums of a few hundred numbers, and three times as fast
    precision = np.float32 if len(acts) <= 256 else np.float64
    squares = np.einsum("pn,pn->n", centred, centred, dtype=precision)
    if not np.isfinite(squares).all():
        return _with_gaps(acts, threshold)
    size = np.abs(acts)
    poles = np.stack([acts.max(axis=0), -acts.min(axis=0)])
    peak = poles.max(axis=0)
    return PromptStats(
        peak=peak,
        pos=first_position(size == peak),
        poles=poles,
        n_finite=len(acts),
        moments=moments_from_sums(len(acts), centred.sum(axis=0, dtype=precision), squares, shift=shift),
        n_above=count_positions(size > threshold),
    )


def _with_gaps(acts: Float32[np.ndarray, "pos neuron"], threshold: float) -> PromptStats:
    finite = np.isfinite(acts)
    size = np.where(finite, np.abs(acts), -1)
    peak = size.max(axis=0)
    poles = [np.where(finite, v, -np.inf).max(axis=0) for v in (acts, -acts)]
    return PromptStats(
        peak=peak.astype(np.float32),
        pos=first_position(size == peak),
        poles=np.stack(poles).astype(np.float32),
        n_finite=finite.sum(axis=0, dtype=np.int32),
        moments=moments(acts.astype(np.float64), where=finite),
        n_above=count_positions(size > threshold),
    )


def first_position(hit: Bool[np.ndarray, "pos neuron"]) -> Int32[np.ndarray, " neuron"]:
    """The first position where `hit` is true, per neuron; the number of positions if there is none.

    Several times faster than `argmax(axis=0)`: it takes the maximum of weights that decrease with the position.
    """
    n = len(hit)
    best = (hit.view(np.uint8) * _decreasing(n)).max(axis=0)
    return n - best.astype(np.int32)  # type: ignore[no-any-return]


def count_positions(hit: Bool[np.ndarray, "pos neuron"]) -> Integer[np.ndarray, " neuron"]:
    """Number of positions where `hit` is true, per neuron, in the smallest unsigned type that can hold it."""
    return hit.view(np.uint8).sum(axis=0, dtype=np.min_scalar_type(len(hit)))  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=64)
def _decreasing(n: int) -> Integer[np.ndarray, "pos 1"]:
    return np.arange(n, 0, -1).astype(np.min_scalar_type(n))[:, None]
