"""Balanced accuracy and AUROC over windows, with bootstrap intervals over documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.predictions import Undefined
from neuron_signatures.scoring.scorer import TOO_FEW, Measured
from neuron_signatures.scoring.scores import auroc

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int64


class Judged(NamedTuple):
    """A window with what a judge said of it: 0 or 1, or a value that is larger for windows taken as active."""

    document: int
    label: bool
    said: float


class _Columns(NamedTuple):
    documents: Int64[np.ndarray, " n"]
    truth: Bool[np.ndarray, " n"]
    said: Float64[np.ndarray, " n"]


def balanced_accuracy(truth: Bool[np.ndarray, " n"], said: Bool[np.ndarray, " n"]) -> float | None:
    """The mean of the shares of positives and of negatives that are judged right; None without one of either."""
    if truth.all() or not truth.any():
        return None
    return (float(said[truth].mean()) + float((~said[~truth]).mean())) / 2


def measure_accuracy(judged: Sequence[Judged], design: Design, *, interval: bool) -> Measured:
    """Balanced accuracy of answers 0 and 1; with `interval` its 95 % interval over documents."""
    if (problem := _problem(judged, design)) is not None:
        return problem
    columns = _columns(judged)
    right = columns.said == columns.truth
    draws = None
    if interval:
        times = _draws(columns.documents, design)
        with np.errstate(invalid="ignore"):  # 0 / 0 in a draw without one of the classes, which is left out
            shares = [times[:, c] @ right[c] / times[:, c].sum(1) for c in (columns.truth, ~columns.truth)]
        draws = (shares[0] + shares[1]) / 2
    return _measured(balanced_accuracy(columns.truth, columns.said > 0), draws, columns.truth)


def measure_auroc(judged: Sequence[Judged], design: Design, *, interval: bool) -> Measured:
    """AUROC of values; with `interval` its 95 % interval over documents."""
    if (problem := _problem(judged, design)) is not None:
        return problem
    columns = _columns(judged)
    draws = None
    if interval:
        times = _draws(columns.documents, design)
        positive, negative = columns.said[columns.truth, None], columns.said[None, ~columns.truth]
        wins = (positive > negative) + (positive == negative) / 2
        of_positive, of_negative = times[:, columns.truth], times[:, ~columns.truth]
        pairs = of_positive.sum(1) * of_negative.sum(1)
        with np.errstate(invalid="ignore"):
            draws = ((of_positive @ wins) * of_negative).sum(1) / pairs
    return _measured(auroc(columns.truth, columns.said), draws, columns.truth)


def undefined(n: int, n_positive: int, reason: str) -> Measured:
    """A score without a value."""
    return Measured(None, None, None, n, n_positive, reason)


def _problem(judged: Sequence[Judged], design: Design) -> Measured | None:
    """Why there is no score; None if there is one."""
    n_positive = sum(one.label for one in judged)
    if not judged:
        return undefined(0, 0, Undefined.NO_WINDOWS.value)
    if min(n_positive, len(judged) - n_positive) < max(design.min_positives, 1):
        return undefined(len(judged), n_positive, TOO_FEW)
    return None


def _columns(judged: Sequence[Judged]) -> _Columns:
    documents = np.array([one.document for one in judged], np.int64)
    return _Columns(documents, np.array([one.label for one in judged]), np.array([float(one.said) for one in judged]))


def _measured(value: float | None, draws: Float[np.ndarray, " draw"] | None, truth: Bool[np.ndarray, " n"]) -> Measured:
    low = high = None
    if draws is not None and np.isfinite(draws).any():
        low, high = (float(v) for v in np.percentile(draws[np.isfinite(draws)], [2.5, 97.5]))
    return Measured(value, low, high, len(truth), int(truth.sum()))


def _draws(documents: Int64[np.ndarray, " n"], design: Design) -> Float64[np.ndarray, "draw n"]:
    """How often each window counts in each draw: as often as its document is drawn."""
    names, place = np.unique(documents, return_inverse=True)
    random = np.random.default_rng(design.seed)
    times = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=design.n_draws)
    return times[:, place].astype(np.float64)
