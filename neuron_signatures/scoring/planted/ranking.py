"""Tests a scorer: does it rank true explanations above false ones, where the truth is known?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuron_signatures.scoring.scores import auroc, correlation_uniform
from neuron_signatures.scoring.simulators.base import Said, Simulator
from neuron_signatures.scoring.texts import Text


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
    true = [_score(simulator, case.truth, case) for case in cases]
    false = [[_score(simulator, text, case) for text in case.false] for case in cases]
    flat = [value for values in false for value in values]
    labels = np.array([True] * len(true) + [False] * len(flat))
    found = auroc(labels, np.array([*true, *flat]))
    assert found is not None, "there are no cases"
    wins = [np.mean([(t > f) + (t == f) / 2 for f in values]) for t, values in zip(true, false, strict=True)]
    chosen = [1 / (1 + f.count(t)) if t >= max(f) else 0.0 for t, f in zip(true, false, strict=True)]
    return Ranking(
        found, float(np.mean(wins)), float(np.mean(chosen)), _mean(true), _mean(flat), len(true), len(flat),
        true.count(-np.inf), flat.count(-np.inf),
    )  # fmt: skip


def _score(simulator: Simulator, text: str, case: Case) -> float:
    value = correlation_uniform(simulator, Said(text), case.texts).value
    return -np.inf if value is None else value


def _mean(values: Sequence[float]) -> float | None:
    defined = [v for v in values if np.isfinite(v)]
    return float(np.mean(defined)) if defined else None
