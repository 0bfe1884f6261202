"""Greedy choice of n-grams that together name the active positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special  # type: ignore[import-untyped]

from neuron_signatures.scoring.lookup.positions import LONGEST, Positions

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

MIN_ACTIVE = 2
"""Active positions at which an n-gram must end, and documents in which it must be active (one, if there is one)."""


SURE_BITS = 10.0
"""Bits that naming an n-gram must save beyond its cost. Of neurons that are active at random, at most one in 2^10 then
has a rule: the chance that a code saves b bits by accident is at most 2^-b, and the names are a code too."""


class Candidates(NamedTuple):
    """N-grams by their length, then their tokens; `at` says which of them end at each position, -1 for none."""

    ngrams: list[tuple[str, ...]]
    bits: Float64[np.ndarray, " candidate"]
    """What naming the n-gram must save: its length, the logarithm of the vocabulary's size per token, `SURE_BITS`."""
    at: Int64[np.ndarray, "longest pos"]


class Counts(NamedTuple):
    """Positions that each candidate would add to what is named already, and how many of them are active."""

    n: Float64[np.ndarray, " candidate"]
    active: Float64[np.ndarray, " candidate"]


def find_candidates(positions: Positions, active: Bool[np.ndarray, " pos"]) -> Candidates:
    """All n-grams that are active often enough to be considered."""
    ngrams: list[tuple[str, ...]] = []
    at = np.full(positions.codes.shape, -1, np.int64)
    least = min(MIN_ACTIVE, len(np.unique(positions.documents)))
    for n in range(1, LONGEST + 1):
        codes = positions.codes[n - 1]
        places = np.flatnonzero(active & (codes >= 0))
        found, first, counts = np.unique(codes[places], return_index=True, return_counts=True)
        pairs = np.unique(np.stack([codes[places], positions.documents[places]]), axis=1)
        documents = np.unique(pairs[0], return_counts=True)[1]
        kept = (counts >= MIN_ACTIVE) & (documents >= least)
        number = np.full(int(codes.max(initial=-1)) + 2, -1, np.int64)
        number[found[kept]] = len(ngrams) + np.arange(int(kept.sum()))
        at[n - 1] = number[codes]
        ngrams += [positions.ngram(n, int(places[i])) for i in first[kept]]
    lengths = np.array([len(ngram) for ngram in ngrams], np.float64)
    bits = np.log2(max(2, len(positions.vocabulary))) * lengths + np.log2(LONGEST) + SURE_BITS
    return Candidates(ngrams, bits, at)


def choose_ngrams(
    positions: Positions, active: Bool[np.ndarray, " pos"], *, min_gain: float, max_ngrams: int
) -> list[tuple[str, ...]]:
    """N-grams in the order in which they were chosen; a token replaces all n-grams that end with it."""
    candidates = find_candidates(positions, active)
    named = np.zeros(len(active), bool)
    chosen: list[int] = []
    best = 0.0
    while candidates.ngrams and len(chosen) < max_ngrams:
        f1 = _f1_with(positions.weights, active, named, candidates)
        f1[~_worth_naming(active, named, candidates)] = -1
        pick = int(np.argmax(f1))
        if f1[pick] < best + min_gain:
            break
        best = float(f1[pick])
        chosen.append(pick)
        named |= (candidates.at == pick).any(axis=0)
    return _without_longer([candidates.ngrams[i] for i in chosen])


def f1_of(weights: np.ndarray, active: np.ndarray, named: np.ndarray) -> float:
    """Harmonic mean of precision and recall, weighted; 0 if nothing is active and named."""
    hits = float(weights[active & named].sum())
    return 2 * hits / float(weights[active].sum() + weights[named].sum()) if hits else 0.0


def _f1_with(
    weights: np.ndarray, active: np.ndarray, named: np.ndarray, candidates: Candidates
) -> Float64[np.ndarray, " candidate"]:
    """F1 of what is named already and each candidate together."""
    added = _count(candidates, ~named, active, weights)
    hits = float(weights[active & named].sum()) + added.active
    total: Float64[np.ndarray, " candidate"] = (
        2 * hits / (float(weights[active].sum() + weights[named].sum()) + added.n)
    )
    return total


def _worth_naming(active: np.ndarray, named: np.ndarray, candidates: Candidates) -> Bool[np.ndarray, " candidate"]:
    """Whether naming a candidate shortens the description of which positions are active.

    Before, the positions that are not named are one group with one code; after, the candidate's positions are a group
    of their own. A group of n positions of which k are active takes log2(n + 1) + log2(n choose k) bits. The candidate
    must be active more often than the rest, and save the bits that `Candidates` asks for.
    """
    free = ~named
    added = _count(candidates, free, active, np.ones(len(active)))
    n, k = np.asarray(free.sum(), np.float64), np.asarray((free & active).sum(), np.float64)
    saved = _group_bits(n, k) - _group_bits(added.n, added.active) - _group_bits(n - added.n, k - added.active)
    more_often: Bool[np.ndarray, " candidate"] = (saved > candidates.bits) & (added.active * n > k * added.n)
    return more_often


def _count(candidates: Candidates, where: np.ndarray, active: np.ndarray, weights: np.ndarray) -> Counts:
    size = len(candidates.ngrams)
    n, k = np.zeros(size), np.zeros(size)
    for at in candidates.at:
        here = where & (at >= 0)
        n += np.bincount(at[here], weights[here], minlength=size)
        here &= active
        k += np.bincount(at[here], weights[here], minlength=size)
    return Counts(n, k)


def _group_bits(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    ways = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return np.asarray(np.log2(n + 1) + ways / np.log(2))


def _without_longer(ngrams: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Without n-grams whose end is itself in the list: they name nothing more."""
    held = set(ngrams)
    return [g for g in ngrams if not any(g[start:] in held for start in range(1, len(g)))]
