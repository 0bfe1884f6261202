"""Scores of explanations: how well predictions agree with activations, and how well a rule does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from neuron_signatures.scoring.predictions import Invalid, Undefined, predict
from neuron_signatures.scoring.simulators.base import Said, Simulator
from neuron_signatures.scoring.texts import Text
from neuron_signatures.stats.correlation import pearson

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True)
class ScoreValue:
    """A score, or None and why it is undefined. `invalid` counts the windows left out, by reason."""

    value: float | None
    undefined: Undefined | None
    n_positions: int
    n_windows: int
    """Windows in the score."""
    invalid: Mapping[Invalid, int] = field(default_factory=dict)


def correlation_uniform(simulator: Simulator, said: Said, texts: Sequence[Text]) -> ScoreValue:
    """Pearson's r of activation and prediction over all counted positions of windows of the uniform sample.

    The positions of all windows are concatenated, so windows without activity count. Undefined, not 0, if either is
    constant. It does not depend on the scale of the predictions.
    """
    found = predict(simulator, said, texts)
    undefined, value = found.undefined, None
    if undefined is None:
        undefined = _constant(found.truth, found.prediction)
    if undefined is None:
        value = pearson(found.truth, found.prediction)
    return ScoreValue(value, undefined, len(found.truth), found.n_windows, found.invalid)


def auroc(truth: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> float | None:
    """The probability that a positive has a higher score than a negative, ties half; None without one of either."""
    n_positive = int(truth.sum())
    n_negative = len(truth) - n_positive
    if not n_positive or not n_negative:
        return None
    rank_sum = float(stats.rankdata(scores)[truth].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def average_precision(truth: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> float | None:
    """The area under precision over recall as a sum of steps, one per distinct score; None without a positive.

    Equal scores enter together, so their order does not matter. A random score has the share of positives.
    """
    n_positive = int(truth.sum())
    if not n_positive:
        return None
    order = np.argsort(-scores, kind="stable")
    last_of_equal = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(truth[order])[last_of_equal]
    named = np.flatnonzero(last_of_equal) + 1
    return float((np.diff(hits, prepend=0) / n_positive * (hits / named)).sum())


def _constant(truth: np.ndarray, prediction: np.ndarray) -> Undefined | None:
    if (truth == truth[0]).all():
        return Undefined.CONSTANT_TRUTH
    return Undefined.CONSTANT_PREDICTION if (prediction == prediction[0]).all() else None
