"""What a series of doses shows: is it monotone, where does it turn, where does the text break. No model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from neuron_signatures.interventions.controls.verdicts import MAX_P
from neuron_signatures.runs.intervention_records import Null
from neuron_signatures.stats.correlation import spearman

ROUNDING = 1e-4
"""Values of the target function that differ by less count as equal."""
REPEATS = 5
"""Equal tokens in a row that make a text broken."""
_SHORTEST = 10  # tokens of a text of which one token can be more than half
JUDGED_TOKENS = 8
"""Shorter texts are not broken by their perplexity, which is that of one other answer: what steering is for."""


class Response(NamedTuple):
    """`monotone`: never up and never down again. `turns_at`: the amount nearest to 0 after which, going away from 0,
    the value moves against the direction that it has around 0; None if it never does."""

    monotone: bool
    spearman: float | None
    turns_at: float | None


def response(alphas: Sequence[float], values: Sequence[float]) -> Response:
    """Of the target function at ascending amounts, 0 among them."""
    steps = [b - a for a, b in pairwise(values)]
    monotone = not (any(s > ROUNDING for s in steps) and any(s < -ROUNDING for s in steps))
    zero = list(alphas).index(0.0)
    up = values[zero + 1 :] or None
    trend = up[0] - values[zero] if up else values[zero] - values[zero - 1]
    turns = [
        alphas[i]
        for outward in (range(zero, len(alphas) - 1), range(zero, 0, -1))
        for i in outward
        if (steps[i] if outward.step > 0 else steps[i - 1]) * np.sign(trend) < -ROUNDING
    ]
    rank = spearman(np.asarray(alphas, np.float64), np.asarray(values, np.float64))
    return Response(monotone, rank, min(turns, key=abs) if turns and abs(trend) > ROUNDING else None)


class Breaks(NamedTuple):
    """The amounts nearest to 0 whose text is broken, below and above 0; None if there is none. `broken` are all."""

    below: float | None
    above: float | None
    broken: tuple[float, ...]


def breaks(
    alphas: Sequence[float], perplexities: Sequence[float | None], texts: Sequence[Sequence[int]], *, factor: float
) -> Breaks:
    """Where the text breaks: a perplexity under the clean model above `factor` times that of the unsteered text, in a
    text of 8 tokens or more, or a repeated token (`repeats`), unless the unsteered text repeats one too.
    """
    zero = list(alphas).index(0.0)
    normal, own = perplexities[zero], repeats(texts[zero])
    broken = tuple(
        a
        for a, perplexity, ids in zip(alphas, perplexities, texts, strict=True)
        if a
        and (
            (perplexity and normal and len(ids) >= JUDGED_TOKENS and perplexity > factor * normal)
            or (repeats(ids) and not own)
        )
    )
    return Breaks(
        max((a for a in broken if a < 0), default=None), min((a for a in broken if a > 0), default=None), broken
    )


def repeats(ids: Sequence[int]) -> bool:
    """Whether a text repeats one token: 5 times in a row, or as more than half of at least 10 tokens."""
    if not ids:
        return False
    in_a_row = max(len(list(same)) for _, same in groupby(ids))
    return in_a_row >= REPEATS or (len(ids) >= _SHORTEST and max(Counter(ids).values()) > len(ids) / 2)


class Found(NamedTuple):
    """The amounts with an effect: those whose p, times the number of amounts tested (Bonferroni), is at most .05.

    `smallest` is the smallest p times that number, at most 1; None without controls.
    """

    n_tested: int
    smallest: float | None
    alphas: tuple[float, ...]
    least_possible: float
    """The smallest p that this number of control edits can give, times the number of amounts."""


def effects_found(alphas: Sequence[float], nulls: Sequence[Null | None]) -> Found:
    tested = [(a, n.p) for a, n in zip(alphas, nulls, strict=True) if n is not None and n.p is not None]
    n = len(tested)
    ps = [min(1.0, p * n) for _, p in tested]
    alphas_found = tuple(a for (a, _), p in zip(tested, ps, strict=True) if p <= MAX_P)
    least = min((n / (1 + found.n) for found in nulls if found is not None), default=1.0)
    return Found(n, min(ps, default=None), alphas_found, least)
