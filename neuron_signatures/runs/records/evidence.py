"""Chooses windows for one neuron: by interval, by quantile, at random, silent ones, tokens in other contexts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.records.sample import Sample
from neuron_signatures.runs.records.windows import Pick, Window

NEARLY_ZERO = 0.1
"""Share of the largest activation up to which a token counts as silent."""


@dataclass(frozen=True)
class Interval:
    """Windows whose peak is from `low` to `high`, the strongest first."""

    low: float
    high: float
    windows: list[Window]
    n: int
    """Windows of the sample in this interval; `windows` are some of them."""


class PickedInterval(NamedTuple):
    low: float
    high: float
    picks: list[Pick]
    n: int


@dataclass(frozen=True)
class TokenMean:
    """A token and the activations at its occurrences in the sample."""

    token_id: int
    token: str
    count: int
    mean: float
    largest: float
    smallest: float


def at_random(sample: Sample, n: int, seed: int) -> list[Pick]:
    """n different windows, in random order; the first m of n are the same as m."""
    order = np.random.default_rng(seed).permutation(len(sample.windows))[: max(0, n)]
    return [Pick(int(sample.windows[i]), acts=sample.acts_of(i)) for i in order.tolist()]


def by_interval(
    sample: Sample, strongest: Sequence[Pick], sign: int, *, n_intervals: int, per_interval: int, seed: int
) -> list[PickedInterval]:
    """Windows by their peak, in intervals of equal width from 0 to the largest peak, strongest interval first.

    Beside the sample, the strongest windows whose rows are stored (`strongest`) are candidates, because a sample has
    few strong ones. Windows without a peak of this sign are in no interval. Without any, there are no intervals.
    """
    candidates = _peak_picks(sample, sign)
    sampled = {p.window for p in candidates}
    candidates += [p for p in strongest if p.window not in sampled]
    strength = np.array([sign * (p.value or 0.0) for p in candidates])
    top = strength.max(initial=0.0)
    if top <= 0:
        return []
    edges = np.linspace(0.0, top, n_intervals + 1)
    which = np.clip(np.searchsorted(edges, strength, side="left") - 1, -1, n_intervals - 1)  # (low, high]
    found, random = [], np.random.default_rng(seed)
    for i in reversed(range(n_intervals)):
        members = [candidates[j] for j in np.flatnonzero((which == i) & (strength > 0))]
        low, high = sorted((sign * float(edges[i]), sign * float(edges[i + 1])))
        n = sum(p.window in sampled for p in members)
        found.append(PickedInterval(low, high, _some(members, per_interval, random, sign), n))
    return found


def by_quantile(sample: Sample, *, n_quantiles: int, per_quantile: int, seed: int) -> list[PickedInterval]:
    """Windows by their largest activation, in groups of equal size, the lowest first; ties by window."""
    picks = sorted(_peak_picks(sample, 1), key=lambda p: (p.value, p.window))
    groups = [picks[g[0] : g[-1] + 1] for g in np.array_split(np.arange(len(picks)), n_quantiles) if len(g)]
    random = np.random.default_rng(seed)
    return [
        PickedInterval(float(g[0].value or 0), float(g[-1].value or 0), _some(g, per_quantile, random, 1), len(g))
        for g in groups
    ]


def lookup(sample: Sample, *, min_count: int) -> list[tuple[int, int, float, float, float]]:
    """Token id, count, mean, largest and smallest activation where positions count; by mean, the largest first."""
    ids, acts = sample.token_ids[sample.counts], sample.acts[sample.counts]
    order = np.argsort(ids, kind="stable")
    ids, acts = ids[order], acts[order]
    if not len(ids):
        return []
    first = np.flatnonzero(np.diff(ids, prepend=ids[0] - 1))
    count = np.diff(first, append=len(ids))
    mean = np.add.reduceat(acts.astype(np.float64), first) / count
    largest, smallest = np.maximum.reduceat(acts, first), np.minimum.reduceat(acts, first)
    rows = zip(ids[first].tolist(), count.tolist(), mean.tolist(), largest.tolist(), smallest.tolist(), strict=True)
    return sorted((r for r in rows if r[1] >= min_count), key=lambda r: (-r[2], r[0]))


def peak_tokens(tokens: Sequence[int], most: int) -> list[int]:
    """The tokens at the peaks of the strongest windows, the most common first, then in the order of the list."""
    return [token for token, _ in Counter(tokens).most_common(most)]


def hard_negatives(sample: Sample, tokens: Sequence[int], *, largest: float, sign: int, n: int) -> list[Pick]:
    """Windows with one of `tokens` where the neuron is silent: |act| at most a tenth of `largest`.

    Windows without any strong position come first, then the more common tokens, then the smaller |act|, then earlier
    windows. Each window is there once, with its best position in this order.
    """
    limit = NEARLY_ZERO * abs(largest)
    silent = np.abs(sample.acts) <= limit
    _, peak = sample.peaks(sign)
    found = []
    for i, pos, rank in _occurrences(sample, tokens, silent):
        value = float(sample.acts[sample.starts[i] + pos])
        found.append(((sign * peak[i] > limit, rank, abs(value), i, pos), i, pos, value))
    return _once(sample, sorted(found), n)


def out_of_context(
    sample: Sample, tokens: Sequence[int], *, strongest: set[int], contexts: set[tuple[int, ...]], context: int, n: int
) -> list[Pick]:
    """Windows with one of `tokens` that are not in the list of strongest windows, nor have a context of them.

    The tokens take turns, the most common first; windows in corpus order, each once.
    """
    found, turn = [], Counter[int]()
    for i, pos, rank in _occurrences(sample, tokens, sample.counts):
        ids = sample.token_ids[sample.starts[i] : sample.starts[i + 1]]
        if int(sample.windows[i]) in strongest or context_of(ids, pos, context) in contexts:
            continue
        found.append(((turn[rank], rank, i, pos), i, pos, float(sample.acts[sample.starts[i] + pos])))
        turn[rank] += 1
    return _once(sample, sorted(found), n)


def context_of(token_ids: np.ndarray, pos: int, size: int) -> tuple[int, ...]:
    """The tokens within `size` of the position inside the window, after the number of those to its left."""
    left = min(pos, size)
    return (left, *token_ids[pos - left : pos + size + 1].tolist())


def _peak_picks(sample: Sample, sign: int) -> list[Pick]:
    pos, value = sample.peaks(sign)
    return [
        Pick(int(w), int(p), float(v), sample.acts_of(i))
        for i, (w, p, v) in enumerate(zip(sample.windows, pos, value, strict=True))
    ]


def _some(picks: list[Pick], n: int, random: np.random.Generator, sign: int) -> list[Pick]:
    """n of the picks at random, the strongest first."""
    chosen = [picks[i] for i in random.permutation(len(picks))[:n]]
    return sorted(chosen, key=lambda p: (-sign * (p.value or 0.0), p.window))


def _occurrences(sample: Sample, tokens: Sequence[int], where: np.ndarray) -> list[tuple[int, int, int]]:
    """Place of the window, position in it and rank of the token, wherever a token stands, counts and `where` holds."""
    rank = {token: r for r, token in enumerate(tokens)}
    at = np.flatnonzero(np.isin(sample.token_ids, list(rank)) & sample.counts & where)
    places = np.searchsorted(sample.starts, at, side="right") - 1
    pos = at - sample.starts[places]
    return [(int(i), int(p), rank[int(sample.token_ids[a])]) for i, p, a in zip(places, pos, at, strict=True)]


def _once(sample: Sample, found: list[tuple[tuple[float, ...], int, int, float]], n: int) -> list[Pick]:
    """The first entry of each window, at most n."""
    picks: dict[int, Pick] = {}
    for _, i, pos, value in found:
        picks.setdefault(i, Pick(int(sample.windows[i]), pos, value, sample.acts_of(i)))
    return list(picks.values())[: max(0, n)]
