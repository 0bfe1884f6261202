"""Balanced accuracy and AUROC of what a judge said of windows, with bootstrap intervals over documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.records.names import POLES, NeuronPole
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.judges.windows import Shown
from neuron_signatures.scoring.measures.bootstrap import NO_INTERVAL, Bootstrap, Interval
from neuron_signatures.scoring.measures.flat import Flat
from neuron_signatures.scoring.measures.formulas import balanced_accuracy, count
from neuron_signatures.scoring.predictions import Undefined
from neuron_signatures.scoring.scorer import TOO_FEW, Measured
from neuron_signatures.scoring.scores import auroc


class Scoring(NamedTuple):
    """How judgements become a score. Intervals are of explanations of the neuron itself only."""

    at: NeuronPole
    design: Design
    has_interval: bool


def accuracy(shown: Sequence[Shown], said: Sequence[bool | None], scoring: Scoring) -> Measured:
    """Balanced accuracy: the mean of the shares of positives and of negatives that are judged right.

    Over the windows with an answer; a window without one is None.
    """
    flat = _answered(shown, [None if v is None else float(v) for v in said])
    if (problem := _problem(flat, scoring)) is not None:
        return problem
    yes = flat.prediction > 0
    draws = _draws(flat, scoring)
    interval = draws.classes(flat.active, yes, flat.documents)["balanced_accuracy"] if draws else NO_INTERVAL
    return _measured(balanced_accuracy(count(flat.active, yes)), interval, flat)


def ranking(shown: Sequence[Shown], values: Sequence[float | None], scoring: Scoring) -> Measured:
    """AUROC of values, which are larger where the answer is rather yes. A window without a value is None."""
    flat = _answered(shown, values)
    if (problem := _problem(flat, scoring)) is not None:
        return problem
    draws = _draws(flat, scoring)
    return _measured(auroc(flat.active, flat.prediction), draws.ranking(flat)[1] if draws else NO_INTERVAL, flat)


def unmeasured(shown: Sequence[Shown], reason: str) -> Measured:
    """A score without a value."""
    return Measured(None, None, None, len(shown), sum(one.label for one in shown), reason)


def _answered(shown: Sequence[Shown], said: Sequence[float | None]) -> Flat:
    pairs = [(one, value) for one, value in zip(shown, said, strict=True) if value is not None]
    labels = np.array([one.label for one, _ in pairs], bool)
    documents = np.array([one.text.document for one, _ in pairs], np.int64)
    numbers = np.unique(documents, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return Flat(labels.astype(np.float64), labels, np.array([v for _, v in pairs], np.float64), numbers)


def _problem(flat: Flat, scoring: Scoring) -> Measured | None:
    """Why there is no score; None if there is one."""
    n, n_positive = len(flat.active), int(flat.active.sum())
    if not n:
        return Measured(None, None, None, 0, 0, Undefined.NO_WINDOWS.value)
    if min(n_positive, n - n_positive) < max(scoring.design.min_positives, 1):
        return Measured(None, None, None, n, n_positive, TOO_FEW)
    return None


def _draws(flat: Flat, scoring: Scoring) -> Bootstrap | None:
    if not scoring.has_interval:
        return None
    at, design = scoring.at, scoring.design
    seed = (design.seed, at.layer, at.neuron, POLES.index(at.pole))
    return Bootstrap(flat.n_documents, n_draws=design.n_draws, seed=seed)


def _measured(value: float | None, interval: Interval, flat: Flat) -> Measured:
    return Measured(value, *interval, len(flat.active), int(flat.active.sum()))
