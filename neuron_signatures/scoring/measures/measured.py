"""The scores of one explanation from its predictions, by sample of windows. Definitions: docs/scores.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neuron_signatures.scoring.measures.bootstrap import NO_INTERVAL, Bootstrap, Interval
from neuron_signatures.scoring.measures.flat import Flat
from neuron_signatures.scoring.measures.formulas import (
    absolute_dev_explained,
    balanced_accuracy,
    best_threshold,
    calibrate,
    count,
    f1,
    iou,
    rsquared,
)
from neuron_signatures.scoring.predictions import Undefined
from neuron_signatures.scoring.scorer import TOO_FEW, Measured
from neuron_signatures.scoring.scores import auroc, average_precision
from neuron_signatures.stats.correlation import pearson, spearman

CLASSES = {"f1": f1, "iou": iou, "balanced_accuracy": balanced_accuracy}
EXPLAINED = ("rsquared", "absolute_dev_explained")


@dataclass(frozen=True, eq=False)
class Scoring:
    """How the scores of a sample are taken. `draws` is None where no intervals are wanted."""

    min_positives: int
    draws: Bootstrap | None = None


def uniform_scores(scored: Flat, fitted: Flat, how: Scoring) -> dict[str, Measured]:
    """On the uniform sample; the threshold of the prediction is the one with the best F1 on `fitted`."""
    return {
        "correlation/uniform": _correlation(scored, how),
        **_ranking(scored, how, "uniform"),
        **_classes(scored, fitted, how),
    }


def top_and_random_scores(scored: Flat, fitted: Flat, how: Scoring) -> dict[str, Measured]:
    """On the strongest and the random windows together; the calibration is that of `fitted`."""
    return {
        "ev_correlation/top_and_random": _correlation(scored, how),
        **{f"{name}/top_and_random": found for name, found in _explained(scored, fitted, how).items()},
    }


def sixty_scores(scored: Flat, how: Scoring) -> dict[str, Measured]:
    """On the design of sixty examples."""
    return {"ev_correlation/sixty": _correlation(scored, how), "spearman/sixty": _correlation(scored, how, ranks=True)}


def window_scores(scored: Flat, how: Scoring) -> dict[str, Measured]:
    """Of whole windows of the uniform sample: is the window active anywhere?"""
    return _ranking(scored, how, "windows")


def not_measured(names: Mapping[str, object] | tuple[str, ...], why: str) -> dict[str, Measured]:
    """Scores without predictions."""
    return {name: Measured(None, None, None, 0, None, why) for name in names}


def _correlation(flat: Flat, how: Scoring, *, ranks: bool = False) -> Measured:
    why = _lacking(flat, how)
    if not why and (flat.prediction == flat.prediction[0]).all():
        why = Undefined.CONSTANT_PREDICTION.value
    if why:
        return _measured(flat, None, why=why)
    value = (spearman if ranks else pearson)(flat.truth, flat.prediction)
    if how.draws is None:
        return _measured(flat, value)
    interval = (how.draws.spearman if ranks else how.draws.pearson)(flat.truth, flat.prediction, flat.documents)
    return _measured(flat, value, interval)


def _ranking(flat: Flat, how: Scoring, sample: str) -> dict[str, Measured]:
    names = f"auprc/{sample}", f"auroc/{sample}"
    if why := _lacking(flat, how) or _one_class(flat):
        return {name: _measured(flat, None, why=why) for name in names}
    values = average_precision(flat.active, flat.prediction), auroc(flat.active, flat.prediction)
    intervals = (NO_INTERVAL, NO_INTERVAL) if how.draws is None else how.draws.ranking(flat)
    return {name: _measured(flat, v, i) for name, v, i in zip(names, values, intervals, strict=True)}


def _classes(flat: Flat, fitted: Flat, how: Scoring) -> dict[str, Measured]:
    threshold = best_threshold(fitted.active, fitted.prediction)
    why = _lacking(flat, how) or _one_class(flat)
    if not why and threshold is None:
        why = _lacking(fitted, how) or TOO_FEW
    if why or threshold is None:
        return {f"{name}/uniform": _measured(flat, None, why=why) for name in CLASSES}
    predicted = flat.prediction >= threshold
    counts = count(flat.active, predicted)
    intervals = {} if how.draws is None else how.draws.classes(flat.active, predicted, flat.documents)
    return {
        f"{name}/uniform": _measured(flat, formula(counts), intervals.get(name, NO_INTERVAL))
        for name, formula in CLASSES.items()
    }


def _explained(flat: Flat, fitted: Flat, how: Scoring) -> dict[str, Measured]:
    calibration = calibrate(fitted.truth, fitted.prediction)
    why = _lacking(flat, how)
    if not why and calibration is None:
        why = Undefined.NO_WINDOWS.value
    if why or calibration is None:
        return {name: _measured(flat, None, why=why) for name in EXPLAINED}
    truth, predicted = flat.truth, calibration.of(flat.prediction)
    values = rsquared(truth, predicted), absolute_dev_explained(truth, predicted)
    intervals = [NO_INTERVAL, NO_INTERVAL]
    if how.draws is not None:
        off, documents = truth - predicted, flat.documents
        parts = (off**2, truth**2), (np.abs(off), np.abs(truth))
        intervals = [how.draws.explained(errors, total, documents) for errors, total in parts]
    return {name: _measured(flat, v, i) for name, v, i in zip(EXPLAINED, values, intervals, strict=True)}


def _lacking(flat: Flat, how: Scoring) -> str:
    """Why there is too little for any score; empty if there is enough."""
    if not len(flat.truth):
        return Undefined.NO_WINDOWS.value
    if int(flat.active.sum()) < how.min_positives:
        return TOO_FEW
    return Undefined.CONSTANT_TRUTH.value if (flat.truth == flat.truth[0]).all() else ""


def _one_class(flat: Flat) -> str:
    return Undefined.CONSTANT_TRUTH.value if flat.active.all() or not flat.active.any() else ""


def _measured(flat: Flat, value: float | None, interval: Interval = NO_INTERVAL, *, why: str = "") -> Measured:
    return Measured(value, interval.low, interval.high, len(flat.truth), int(flat.active.sum()), why)
