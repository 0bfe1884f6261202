"""Bootstrap intervals of scores that compare two groups, each resampled by itself so that none is ever empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.measures.bootstrap import NO_INTERVAL, Interval, percentiles

if TYPE_CHECKING:
    from jaxtyping import Float64


_POLES = "+-"


def random_of(at: NeuronPole, design: Design, *names: int) -> np.random.Generator:
    """A generator of its own for each seed, pole of a neuron, and purpose."""
    return np.random.default_rng([design.seed, at.layer, at.neuron, _POLES.index(at.pole), *names])


def weights_of(groups: Sequence[int], n_draws: int, random: np.random.Generator) -> Float64[np.ndarray, "draw row"]:
    """How often each row counts in each draw, if groups (documents, or the rows themselves) are drawn."""
    names = sorted(set(groups))
    place = np.array([names.index(g) for g in groups])
    n = len(names)
    return random.multinomial(n, np.full(n, 1 / n), size=n_draws).astype(np.float64)[:, place]


def auroc_interval(
    positive: Sequence[float], negative: Sequence[float], *, groups: tuple[Sequence[int], Sequence[int]],
    design: Design, random: np.random.Generator,
) -> Interval:  # fmt: skip
    """Of the AUROC of positive against negative values; `groups` are what is drawn, of either."""
    p, q = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    wins = (p[:, None] > q) + 0.5 * (p[:, None] == q)
    a, b = (weights_of(g, design.n_draws, random) for g in groups)
    draws = ((a @ wins) * b).sum(1) / (a.sum(1) * b.sum(1))
    return percentiles(draws)


def difference_interval(
    positive: Sequence[float], negative: Sequence[float], design: Design, random: np.random.Generator
) -> Interval:
    """Of the difference of the means; rows are drawn."""
    means = []
    for values in (positive, negative):
        weights = weights_of(range(len(values)), design.n_draws, random)
        means.append(weights @ np.asarray(values, np.float64) / len(values))
    return percentiles(means[0] - means[1])


def statistic_interval(
    statistic: Callable[[np.ndarray], float | None], groups: Sequence[int], design: Design, random: np.random.Generator
) -> Interval:
    """Of any statistic of rows, which it is given by number; draws without a value are left out."""
    names, labels = sorted(set(groups)), np.asarray(groups)
    rows = [np.flatnonzero(labels == name) for name in names]
    draws = []
    for _ in range(design.n_draws):
        value = statistic(np.concatenate([rows[i] for i in random.integers(len(names), size=len(names))]))
        if value is not None:
            draws.append(value)
    return percentiles(np.asarray(draws)) if draws else NO_INTERVAL
