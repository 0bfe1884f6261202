"""What a neuron does at the compared tokens, and how two neurons of the same index differ.

Every comparison does the same operations on both sides, so that equal activations give exactly 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int64

from neuron_signatures.stats.moments import moments

_VALUES_AT_ONCE = 1 << 23
"""float64 values of a block of neurons."""


@dataclass(frozen=True, eq=False)
class Profile:
    """Per neuron, over the compared tokens. `std` is that of the population."""

    mean: Float64[np.ndarray, " neuron"]
    std: Float64[np.ndarray, " neuron"]
    rate: Float64[np.ndarray, " neuron"]
    """Share of the tokens at which the activation is above the threshold."""
    constant: Bool[np.ndarray, " neuron"]
    """Whether the activation is the same at all tokens: correlations are undefined."""
    strongest: Int64[np.ndarray, "k neuron"]
    """Rows of the tokens with the largest |activation|, ties to the earlier token. -1 where the activation is 0."""


def profile(acts: Float32[np.ndarray, "token neuron"], *, k: int, fires_above: float) -> Profile:
    mean, std = moments(acts).mean_std()
    return Profile(
        mean, std, (acts > fires_above).mean(axis=0), (acts == acts[0]).all(axis=0), strongest_tokens(acts, k)
    )


def strongest_tokens(acts: Float32[np.ndarray, "token neuron"], k: int) -> Int64[np.ndarray, "k neuron"]:
    """See `Profile.strongest`; `k` is at most the number of tokens."""
    n = len(acts)
    places = np.arange(n, 0, -1).astype(np.uint64)[:, None]
    out = np.empty((k, acts.shape[1]), np.int64)
    for block in blocks(*acts.shape):
        size = np.abs(acts[:, block])
        # bits of positive floats are in the order of the floats; the place makes every key different
        keys = (size.view(np.uint32).astype(np.uint64) << np.uint64(32)) | places
        top = np.argpartition(keys, n - k, axis=0)[n - k :] if k < n else np.tile(np.arange(n)[:, None], size.shape[1])
        out[:, block] = np.where(np.take_along_axis(size, top, axis=0) > 0, top, -1)
    return out


def jaccard(a: Int64[np.ndarray, "k neuron"], b: Int64[np.ndarray, "k neuron"]) -> Float64[np.ndarray, " neuron"]:
    """Tokens in both columns over tokens in one of them, without the -1; NaN where both have none."""
    both = np.zeros(a.shape[1], np.int64)
    for token in a:
        both += ((token == b) & (token >= 0)).any(axis=0)
    either = (a >= 0).sum(axis=0) + (b >= 0).sum(axis=0) - both
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def pearson(
    a: Float32[np.ndarray, "token neuron"], b: Float32[np.ndarray, "token neuron"]
) -> Float64[np.ndarray, " neuron"]:
    """Correlation of each column of `a` with that of `b`, in float64; NaN where one is constant.

    sum(xy) / sqrt(sum(xx) sum(yy)): with x = y the root is exact in binary floats, and the result 1.
    """
    out = np.empty(a.shape[1])
    for block in blocks(*a.shape):
        x, y = centred(a[:, block]), centred(b[:, block])
        xy, xx, yy = (_dot(x, y), _dot(x, x), _dot(y, y))
        with np.errstate(divide="ignore", invalid="ignore"):
            out[block] = xy / np.sqrt(xx * yy)
        constant = (a[:, block] == a[0, block]).all(axis=0) | (b[:, block] == b[0, block]).all(axis=0)
        out[block][constant] = np.nan
    return out


def centred(acts: Float32[np.ndarray, "token neuron"]) -> Float64[np.ndarray, "token neuron"]:
    values = acts.astype(np.float64)
    values -= values.mean(axis=0)
    return values


def blocks(n_tokens: int, n_neurons: int) -> Iterator[slice]:
    """Blocks of neurons that fit into memory as float64."""
    step = max(1, _VALUES_AT_ONCE // max(1, n_tokens))
    for first in range(0, n_neurons, step):
        yield slice(first, min(first + step, n_neurons))


def _dot(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    product: np.ndarray = (x * y).sum(axis=0)
    return product


def other_indices(n: int, rng: np.random.Generator) -> Int64[np.ndarray, " n"]:
    """A random permutation in which no index stays (one cycle); of one index, that index."""
    order = rng.permutation(n)
    found = np.empty(n, np.int64)
    found[order] = np.roll(order, 1)
    return found


@dataclass(frozen=True, eq=False)
class Halves:
    """Standard deviation per neuron of the difference between random disjoint halves of the prompts, about 0, which is
    the mean of these differences by symmetry. NaN with fewer than four prompts."""

    mean: Float64[np.ndarray, " neuron"]
    std: Float64[np.ndarray, " neuron"]
    rate: Float64[np.ndarray, " neuron"]


SMALLEST = 4
"""Prompts that random halves and the bootstrap need."""


def random_halves(n_prompts: int, n_draws: int, rng: np.random.Generator) -> Bool[np.ndarray, "draw prompt"]:
    """Which prompts are in the first half, in each draw."""
    ranks = rng.random((n_draws, n_prompts)).argsort(axis=1).argsort(axis=1)
    return np.asarray(ranks < n_prompts // 2)


def differences_of_halves(
    acts: Float32[np.ndarray, "token neuron"], starts: Int[np.ndarray, " prompt"],
    halves: Bool[np.ndarray, "draw prompt"], *, fires_above: float,
) -> Halves:  # fmt: skip
    """`starts` are the first rows of the prompts."""
    if len(starts) < SMALLEST:
        return Halves(*(np.full(acts.shape[1], np.nan) for _ in range(3)))
    counts = np.diff([*starts, len(acts)]).astype(np.float64)
    out = np.empty((3, acts.shape[1]))
    for block in blocks(*acts.shape):
        x = centred(acts[:, block])
        sums = [np.add.reduceat(values, starts, axis=0) for values in (x, x * x, acts[:, block] > fires_above)]
        first, second = (_half(half.astype(np.float64), counts, sums) for half in (halves, ~halves))
        for row, (a, b) in enumerate(zip(first, second, strict=True)):
            out[row, block] = np.sqrt(((a - b) ** 2).mean(axis=0))
    return Halves(*out)


def _half(
    half: Float64[np.ndarray, "draw prompt"], counts: Float64[np.ndarray, " prompt"], sums: list[np.ndarray]
) -> list[np.ndarray]:
    """Mean, standard deviation and rate in each draw, axes `draw neuron`."""
    mean, square, rate = (half @ part.astype(np.float64) / (half @ counts)[:, None] for part in sums)
    return [mean, np.sqrt(np.maximum(square - mean**2, 0)), rate]
