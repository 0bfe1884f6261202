"""Scores that are not elsewhere: agreement in size, and agreement of which positions are active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64


def rsquared(truth: Float64[np.ndarray, " n"], predicted: Float64[np.ndarray, " n"]) -> float | None:
    """1 - mean((t - p)²) / mean(t²); None if all truth is 0. Not centred, unlike the coefficient of determination."""
    squares = float((truth**2).sum())
    return 1 - float(((truth - predicted) ** 2).sum()) / squares if squares > 0 else None


def absolute_dev_explained(truth: Float64[np.ndarray, " n"], predicted: Float64[np.ndarray, " n"]) -> float | None:
    """1 - mean|t - p| / mean|t|; None if all truth is 0."""
    total = float(np.abs(truth).sum())
    return 1 - float(np.abs(truth - predicted).sum()) / total if total > 0 else None


class Counts(NamedTuple):
    """Numbers of positions by truth and prediction."""

    both: int
    """Active and predicted: true positives."""
    predicted: int
    """Predicted only: false positives."""
    active: int
    """Active only: false negatives."""
    neither: int


def count(active: Bool[np.ndarray, " n"], predicted: Bool[np.ndarray, " n"]) -> Counts:
    both, n_predicted, n_active = int((active & predicted).sum()), int(predicted.sum()), int(active.sum())
    return Counts(both, n_predicted - both, n_active - both, len(active) - n_predicted - n_active + both)


def f1(counts: Counts) -> float | None:
    """Harmonic mean of precision and recall; None if nothing is active and nothing predicted."""
    union = 2 * counts.both + counts.predicted + counts.active
    return 2 * counts.both / union if union else None


def iou(counts: Counts) -> float | None:
    """Positions that are active and predicted, of those that are either; None if there are none."""
    union = counts.both + counts.predicted + counts.active
    return counts.both / union if union else None


def balanced_accuracy(counts: Counts) -> float | None:
    """Mean of the shares of active positions that are predicted and of others that are not; None without both."""
    n_active, n_other = counts.both + counts.active, counts.predicted + counts.neither
    return (counts.both / n_active + counts.neither / n_other) / 2 if n_active and n_other else None


@dataclass(frozen=True)
class Calibration:
    """Activation = slope · prediction + offset."""

    slope: float
    offset: float

    def of(self, prediction: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        return self.slope * prediction + self.offset


def calibrate(truth: Float64[np.ndarray, " n"], prediction: Float64[np.ndarray, " n"]) -> Calibration | None:
    """Least squares. For a constant prediction the mean of the truth; None without positions."""
    if not len(truth):
        return None
    centred = prediction - prediction.mean()
    spread = float(centred @ centred) if (prediction != prediction[0]).any() else 0.0
    slope = float(centred @ truth) / spread if spread > 0 else 0.0
    return Calibration(slope, float(truth.mean()) - slope * float(prediction.mean()))


def best_threshold(active: Bool[np.ndarray, " n"], prediction: Float64[np.ndarray, " n"]) -> float | None:
    """The prediction from which on positions are taken as predicted, with the best F1; of equal ones the largest.

    None if nothing is active.
    """
    if not active.any():
        return None
    order = np.argsort(-prediction, kind="stable")
    last_of_equal = np.append(np.diff(prediction[order]) != 0, True)
    both = np.cumsum(active[order])[last_of_equal]
    predicted = np.flatnonzero(last_of_equal) + 1
    best = int(np.argmax(2 * both / (predicted + int(active.sum()))))
    return float(prediction[order[predicted[best] - 1]])
