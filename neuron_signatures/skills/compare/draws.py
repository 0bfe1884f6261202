"""Random draws of texts: bootstrap samples, permuted labels and random halves, as how often each text counts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Int64

from neuron_signatures.skills.compare.engine import Block
from neuron_signatures.skills.compare.request import Resampling

SMALLEST: Final = 4
"""Texts of a group that is compared: each half has two."""
N_SPLITS: Final = 2
"""Random halves over which the separation is averaged, in every draw of its null as well."""
_PAIR: Final = np.array([[0, 1]])


class Parts(NamedTuple):
    """Which draws of a comparison are what; the first draw is the observed one."""

    bootstrap: slice
    permuted: slice
    halves: slice


def generator(seed: int, *names: str) -> np.random.Generator:
    """A random stream of its own for each use and group."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], np.uint32).tolist()])


def parts_of(resampling: Resampling) -> Parts:
    first, second = 1 + resampling.n_draws, 1 + resampling.n_draws + resampling.n_permutations
    return Parts(slice(1, first), slice(first, second), slice(second, second + 2 * resampling.n_halves))


def comparison(
    a: Int64[np.ndarray, " a"], b: Int64[np.ndarray, " b"], names: tuple[str, str], resampling: Resampling
) -> Block:
    """The draws of two groups of texts: observed, bootstrap of each group, labels permuted among the texts of both,
    and random halves of each group. The bootstrap samples and halves of a group are the same in all its comparisons."""
    n_a, n_b = len(a), len(b)
    parts = parts_of(resampling)
    weights = np.zeros((parts.halves.stop, 2, n_a + n_b), np.uint8)
    own = (slice(0, n_a), slice(n_a, n_a + n_b))
    for side, name in enumerate(names):
        weights[0, side, own[side]] = 1
        n = (n_a, n_b)[side]
        weights[parts.bootstrap, side, own[side]] = _bootstrap(n, resampling.n_draws, resampling.seed, name)
        start = parts.halves.start + side * resampling.n_halves
        halves = _random_halves(n, resampling.n_halves, generator(resampling.seed, "halves", name))
        weights[start : start + resampling.n_halves, 0, own[side]] = halves
        weights[start : start + resampling.n_halves, 1, own[side]] = 1 - halves
    rng = generator(resampling.seed, "permuted", *names)
    labels = rng.permuted(np.tile(np.arange(n_a + n_b) < n_a, (resampling.n_permutations, 1)), axis=1)
    weights[parts.permuted, 0], weights[parts.permuted, 1] = labels, ~labels
    return Block(np.concatenate([a, b]), weights, _PAIR)


def separation_pairs(n_classes: int) -> Int64[np.ndarray, "pair 2"]:
    """Rows 2c and 2c + 1 are the halves of class c: first the pairs within a class, then all halves of two classes."""
    within = [(2 * c, 2 * c + 1) for c in range(n_classes)]
    between = [(2 * c + i, 2 * d + j) for c, d in combinations(range(n_classes), 2) for i in (0, 1) for j in (0, 1)]
    return np.array(within + between)


def separation_blocks(groups: Sequence[Int64[np.ndarray, " _"]], resampling: Resampling) -> list[Block]:
    """Random halves of each class, `N_SPLITS` consecutive draws for each of: the observed labels, bootstrap samples
    of each class, and labels permuted among all texts. Blocks: observed, bootstrap, permuted.

    A text that a bootstrap sample has several times is in one half only; otherwise the halves would resemble each
    other by what they share.
    """
    texts, pairs = np.concatenate(list(groups)), separation_pairs(len(groups))
    return [
        Block(texts, _separation_weights([len(g) for g in groups], what, n, resampling.seed), pairs)
        for what, n in (("observed", 1), ("bootstrap", resampling.n_draws), ("permuted", resampling.n_permutations))
    ]


def _separation_weights(sizes: Sequence[int], what: str, n: int, seed: int) -> np.ndarray:
    rng, n_texts = generator(seed, "separation", what), sum(sizes)
    order = np.tile(np.arange(n_texts), (n, 1))
    if what == "permuted":
        order = rng.permuted(order, axis=1)
    weights, draw, start = np.zeros((n * N_SPLITS, 2 * len(sizes), n_texts), np.uint8), np.arange(n), 0
    for c, size in enumerate(sizes):
        members = order[:, start : start + size]
        start += size
        times = _multinomial(size, n, rng) if what == "bootstrap" else np.ones((n, size), np.uint8)
        for split in range(N_SPLITS):
            half = _random_halves(size, n, rng)
            for row, part in ((2 * c, half), (2 * c + 1, 1 - half)):
                weights[(draw * N_SPLITS + split)[:, None], row, members] = times * part
    return weights


def _bootstrap(n: int, n_draws: int, seed: int, name: str) -> np.ndarray:
    return _multinomial(n, n_draws, generator(seed, "bootstrap", name))


def _multinomial(n: int, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    times = rng.multinomial(n, np.full(n, 1 / n), size=n_draws)
    assert times.max(initial=0) < 256
    return times.astype(np.uint8)


def _random_halves(n: int, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    labels = np.tile(np.arange(n) < n // 2, (n_draws, 1))
    return rng.permuted(labels, axis=1).astype(np.uint8)
