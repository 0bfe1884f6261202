"""Tests a scorer: does it rank true explanations above false ones, where the truth is known?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuron_signatures.scoring.scores import auroc, correlation_uniform
from neuron_signatures.scoring.simulators.base import Said, Simulator
from neuron_signatures.scoring.texts import Text

N_DRAWS = 1000
"""Of the bootstrap."""


@dataclass(frozen=True, eq=False)
class Case:
    """A neuron whose true explanation is known, and explanations that are false."""

    name: str
    truth: str
    false: tuple[str, ...]
    texts: Sequence[Text]


@dataclass(frozen=True)
class Ranking:
    """`correlation/uniform` of true against false explanations of many neurons. Undefined scores rank below all others.

    `auroc` compares each true explanation with each false one, also of other neurons; `wins` compares it with the false
    ones of its own neuron. Ties count half. Both are .5 by chance. `chosen` is how often the truth is the best of all
    explanations of its neuron; of m equally good ones it is chosen in one of m cases.
    """

    auroc: float
    auroc_low: float
    auroc_high: float
    """95 % percentile interval of a bootstrap over neurons."""
    wins: float
    chosen: float
    true_mean: float | None
    """Over defined scores, as `false_mean`."""
    false_mean: float | None
    n_true: int
    n_false: int
    n_undefined_true: int
    n_undefined_false: int


def rank_truths(simulator: Simulator, cases: Sequence[Case]) -> Ranking:
    """Score all explanations of the cases, of which each has a false one."""
    return ranking_of(
        [_score(simulator, case.truth, case) for case in cases],
        [[_score(simulator, text, case) for text in case.false] for case in cases],
    )


def ranking_of(true: Sequence[float | None], false: Sequence[Sequence[float | None]], *, seed: int = 0) -> Ranking:
    """From the score of each neuron's true explanation, and of its false ones. None where undefined."""
    of_true = [_ranked(value) for value in true]
    of_false = [[_ranked(value) for value in values] for values in false]
    flat = [value for values in of_false for value in values]
    pairs = list(zip(of_true, of_false, strict=True))
    wins = [np.mean([(t > f) + (t == f) / 2 for f in values]) for t, values in pairs]
    chosen = [1 / (1 + f.count(t)) if t >= max(f) else 0.0 for t, f in pairs]
    drawn = np.random.default_rng(seed).integers(len(pairs), size=(N_DRAWS, len(pairs)))
    low, high = np.percentile([_auroc([pairs[i] for i in row]) for row in drawn], [2.5, 97.5])
    return Ranking(
        _auroc(pairs), float(low), float(high), float(np.mean(wins)), float(np.mean(chosen)), _mean(of_true),
        _mean(flat), len(of_true), len(flat), of_true.count(-np.inf), flat.count(-np.inf),
    )  # fmt: skip


def _auroc(pairs: Sequence[tuple[float, Sequence[float]]]) -> float:
    values = [t for t, _ in pairs], [f for _, of_neuron in pairs for f in of_neuron]
    labels = np.repeat([True, False], [len(v) for v in values])
    found = auroc(labels, np.concatenate(values))
    assert found is not None, "there are no cases"
    return found


def _ranked(value: float | None) -> float:
    return -np.inf if value is None else value


def _score(simulator: Simulator, text: str, case: Case) -> float | None:
    return correlation_uniform(simulator, Said(text), case.texts).value


def _mean(values: Sequence[float]) -> float | None:
    defined = [v for v in values if np.isfinite(v)]
    return float(np.mean(defined)) if defined else None
