"""Scores of hand-made truth and predictions, against scikit-learn, scipy and values that are visible in the test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    jaccard_score,
    precision_recall_curve,
    roc_auc_score,
)

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
from neuron_signatures.scoring.measures.measured import (
    Scoring,
    sixty_scores,
    top_and_random_scores,
    uniform_scores,
    window_scores,
)

EXACT = 1e-9


def drawn(seed: int, n: int = 400, *, distinct: int | None = None) -> Flat:
    """Positions of 20 documents, a tenth active; predictions are related to the truth, with ties if `distinct`."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=n)
    prediction = truth + random.normal(size=n)
    if distinct is not None:
        prediction = np.rint(prediction * distinct / 4)
    return Flat(truth, truth > np.quantile(truth, 0.9), prediction, np.arange(n) // 20)


HOW = Scoring(min_positives=1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("distinct", [None, 3])
def test_scores_on_the_uniform_sample_are_those_of_scipy_and_scikit_learn(seed: int, distinct: int | None) -> None:
    scored, fitted = drawn(seed, distinct=distinct), drawn(seed + 100, distinct=distinct)
    found = {name: m.value for name, m in uniform_scores(scored, fitted, HOW).items()}
    precision, recall, thresholds = precision_recall_curve(fitted.active, fitted.prediction)
    best = np.flatnonzero(np.isclose(f := 2 * precision * recall / (precision + recall + 1e-300), f.max()))[-1]
    predicted = scored.prediction >= thresholds[best]
    assert found == pytest.approx(
        {
            "correlation/uniform": stats.pearsonr(scored.truth, scored.prediction).statistic,
            "auprc/uniform": average_precision_score(scored.active, scored.prediction),
            "auroc/uniform": roc_auc_score(scored.active, scored.prediction),
            "f1/uniform": f1_score(scored.active, predicted),
            "iou/uniform": jaccard_score(scored.active, predicted),
            "balanced_accuracy/uniform": balanced_accuracy_score(scored.active, predicted),
        },
        abs=EXACT,
    )


@pytest.mark.parametrize("seed", range(5))
def test_scores_on_top_and_random_windows_are_those_of_the_calibrated_prediction(seed: int) -> None:
    scored, fitted = drawn(seed), drawn(seed + 100)
    line = LinearRegression().fit(fitted.prediction[:, None], fitted.truth)
    predicted, truth = line.predict(scored.prediction[:, None]), scored.truth
    found = {name: m.value for name, m in top_and_random_scores(scored, fitted, HOW).items()}
    assert found == pytest.approx(
        {
            "ev_correlation/top_and_random": stats.pearsonr(truth, scored.prediction).statistic,
            "rsquared/top_and_random": 1 - np.mean((truth - predicted) ** 2) / np.mean(truth**2),
            "absolute_dev_explained/top_and_random": 1 - np.mean(abs(truth - predicted)) / np.mean(abs(truth)),
        },
        abs=EXACT,
    )


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_sixty_examples_and_of_whole_windows(seed: int) -> None:
    flat = drawn(seed, distinct=5)
    sixty = {name: m.value for name, m in sixty_scores(flat, HOW).items()}
    windows = {name: m.value for name, m in window_scores(flat, HOW).items()}
    assert {**sixty, **windows} == pytest.approx(
        {
            "ev_correlation/sixty": stats.pearsonr(flat.truth, flat.prediction).statistic,
            "spearman/sixty": stats.spearmanr(flat.truth, flat.prediction).statistic,
            "auprc/windows": average_precision_score(flat.active, flat.prediction),
            "auroc/windows": roc_auc_score(flat.active, flat.prediction),
        },
        abs=EXACT,
    )


@given(st.integers(2, 30).flatmap(lambda n: st.tuples(arrays(bool, n), arrays(bool, n))))
@settings(max_examples=100)
def test_class_scores_of_any_classes(pair: tuple[np.ndarray, np.ndarray]) -> None:
    active, predicted = pair
    counts = count(active, predicted)
    if (active | predicted).any():
        assert f1(counts) == pytest.approx(f1_score(active, predicted), abs=EXACT)
        assert iou(counts) == pytest.approx(jaccard_score(active, predicted), abs=EXACT)
    else:
        assert f1(counts) is iou(counts) is None
    if active.any() and not active.all():
        assert balanced_accuracy(counts) == pytest.approx(balanced_accuracy_score(active, predicted), abs=EXACT)
    else:
        assert balanced_accuracy(counts) is None


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(arrays(bool, n), arrays(np.int8, n, elements=st.integers(0, 5)))))
@settings(max_examples=100)
def test_the_threshold_has_the_best_f1_of_all(pair: tuple[np.ndarray, np.ndarray]) -> None:
    active, prediction = pair[0], pair[1].astype(np.float64)
    threshold = best_threshold(active, prediction)
    if not active.any():
        assert threshold is None
        return
    by_threshold = {v: f1_score(active, prediction >= v) for v in sorted(set(prediction.tolist()))}
    best = max(by_threshold.values())
    assert threshold == max(v for v, found in by_threshold.items() if found == pytest.approx(best, abs=1e-12))


def test_a_perfect_and_an_absent_prediction_by_hand() -> None:
    truth = np.array([0.0, 3.0, -4.0, 0.0])
    assert rsquared(truth, truth) == absolute_dev_explained(truth, truth) == 1
    assert rsquared(truth, np.zeros(4)) == absolute_dev_explained(truth, np.zeros(4)) == 0
    assert rsquared(truth, np.array([0.0, 3.0, 0.0, 0.0])) == pytest.approx(1 - 16 / 25)
    assert absolute_dev_explained(truth, np.array([0.0, 3.0, 0.0, 0.0])) == pytest.approx(1 - 4 / 7)


def test_a_constant_prediction_is_calibrated_to_the_mean() -> None:
    line = calibrate(np.array([1.0, 2.0, 6.0]), np.full(3, 0.1))
    assert line is not None and (line.slope, line.offset) == (0, pytest.approx(3))
    assert calibrate(np.empty(0), np.empty(0)) is None


def flat(truth: list[float], prediction: list[float], threshold: float = 0.5) -> Flat:
    acts = np.array(truth, np.float64)
    return Flat(acts, acts > threshold, np.array(prediction, np.float64), np.arange(len(acts)))


FINE = flat([0, 0, 1, 2], [0, 1, 1, 2])


def test_nothing_to_score_is_no_number() -> None:
    nothing = flat([], [])
    every = uniform_scores(nothing, FINE, HOW) | top_and_random_scores(nothing, FINE, HOW)
    every |= sixty_scores(nothing, HOW) | window_scores(nothing, HOW)
    assert {(m.value, m.low, m.high, m.n, m.undefined) for m in every.values()} == {(None, None, None, 0, "no_windows")}


@pytest.mark.parametrize("truth", [[1.0], [1.0, 1.0, 1.0]])
def test_a_constant_truth_is_no_number(truth: list[float]) -> None:
    constant = flat(truth, list(range(len(truth))))
    every = uniform_scores(constant, FINE, HOW) | top_and_random_scores(constant, FINE, HOW)
    every |= sixty_scores(constant, HOW) | window_scores(constant, HOW)
    assert {(m.value, m.undefined) for m in every.values()} == {(None, "constant_truth")}


def test_a_constant_prediction_has_no_correlation_and_else_what_scikit_learn_gives() -> None:
    constant = flat([0, 0, 0, 2], [1, 1, 1, 1])
    found = uniform_scores(constant, constant, HOW) | sixty_scores(constant, HOW)
    undefined = {name for name, m in found.items() if m.value is None}
    assert undefined == {"correlation/uniform", "ev_correlation/sixty", "spearman/sixty"}
    assert {found[name].undefined for name in undefined} == {"constant_prediction"}
    assert (found["auprc/uniform"].value, found["auroc/uniform"].value) == (0.25, 0.5)
    assert (found["f1/uniform"].value, found["iou/uniform"].value) == (0.4, 0.25)
    assert found["balanced_accuracy/uniform"].value == 0.5


def test_below_the_least_number_of_active_positions_there_is_no_number_but_the_count() -> None:
    how = Scoring(min_positives=3)
    found = uniform_scores(FINE, FINE, how) | top_and_random_scores(FINE, FINE, how)
    assert {(m.value, m.n, m.n_positive, m.undefined) for m in found.values()} == {(None, 4, 2, "too_few_examples")}


def test_without_an_active_position_to_fit_on_there_is_no_threshold() -> None:
    found = uniform_scores(FINE, flat([0, 0.1], [0, 1]), Scoring(min_positives=0))
    assert {name for name, m in found.items() if m.undefined == "too_few_examples"} == {
        "f1/uniform", "iou/uniform", "balanced_accuracy/uniform"
    }  # fmt: skip
    found = uniform_scores(FINE, flat([], []), HOW) | top_and_random_scores(FINE, flat([], []), HOW)
    assert {name.split("/")[0] for name, m in found.items() if m.undefined == "no_windows"} == {
        "f1", "iou", "balanced_accuracy", "rsquared", "absolute_dev_explained"
    }  # fmt: skip
