"""Intervals of scores: the same draws of documents, computed position by position, give the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, jaccard_score, roc_auc_score

from neuron_signatures.scoring.measures import bootstrap
from neuron_signatures.scoring.measures.bootstrap import Bootstrap, Interval
from neuron_signatures.scoring.measures.flat import Flat

N_DOCUMENTS, LENGTH = 12, 15


def drawn(seed: int, *, distinct: int | None = None, length: int = LENGTH) -> Flat:
    random = np.random.default_rng(seed)
    n = N_DOCUMENTS * length
    truth = random.normal(size=n) + np.repeat(random.normal(size=N_DOCUMENTS), length)
    prediction = truth + random.normal(size=n)
    if distinct is not None:
        prediction = np.rint(prediction * distinct)
    return Flat(truth, truth > np.quantile(truth, 0.8), prediction, random.permutation(np.arange(n) % N_DOCUMENTS))


def draws() -> Bootstrap:
    return Bootstrap(N_DOCUMENTS, n_draws=200, seed=(0, 1))


def by_position(flat: Flat, score) -> Interval:
    """The definition: positions of the drawn documents, as often as they were drawn."""
    weights = draws().weights
    assert weights is not None
    values = []
    for row in weights.astype(int):
        at = np.repeat(np.arange(len(flat.truth)), row[flat.documents])
        values.append(score(flat.truth[at], flat.active[at], flat.prediction[at]))
    return Interval(*np.percentile(values, [2.5, 97.5]))


@pytest.mark.parametrize("distinct", [None, 1])
def test_intervals_are_those_of_the_scores_of_drawn_documents(distinct: int | None) -> None:
    flat, by_draws = drawn(0, distinct=distinct), draws()
    predicted = flat.prediction >= 1
    average, auroc = by_draws.ranking(flat)
    classes = by_draws.classes(flat.active, predicted, flat.documents)
    off = flat.truth - flat.prediction
    found = [
        by_draws.pearson(flat.truth, flat.prediction, flat.documents),
        by_draws.spearman(flat.truth, flat.prediction, flat.documents),
        average, auroc, classes["f1"], classes["iou"], classes["balanced_accuracy"],
        by_draws.explained(off**2, flat.truth**2, flat.documents),
    ]  # fmt: skip
    scores = [
        lambda t, a, p: stats.pearsonr(t, p).statistic, lambda t, a, p: stats.spearmanr(t, p).statistic,
        lambda t, a, p: average_precision_score(a, p), lambda t, a, p: roc_auc_score(a, p),
        lambda t, a, p: f1_score(a, p >= 1), lambda t, a, p: jaccard_score(a, p >= 1),
        lambda t, a, p: balanced_accuracy_score(a, p >= 1),
        lambda t, a, p: 1 - np.mean((t - p) ** 2) / np.mean(t**2),
    ]  # fmt: skip
    for own, score in zip(found, scores, strict=True):
        assert own == pytest.approx(by_position(flat, score), abs=1e-6)


def test_grouped_predictions_change_an_interval_little(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = drawn(3, length=500)
    assert flat.active.sum() > 5 * bootstrap.MOST_VALUES
    grouped = np.array(draws().ranking(flat))
    monkeypatch.setattr(bootstrap, "MOST_VALUES", len(flat.truth))
    np.testing.assert_allclose(grouped, np.array(draws().ranking(flat)), atol=0.005)


def test_an_interval_holds_the_value_and_is_wider_with_fewer_documents() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=2000)
    prediction = truth + random.normal(size=2000)
    widths = []
    for n in (200, 20):
        found = Bootstrap(n, n_draws=500, seed=(0,)).pearson(truth, prediction, np.arange(2000) * n // 2000)
        assert found.low is not None and found.high is not None
        assert found.low < np.corrcoef(truth, prediction)[0, 1] < found.high
        widths.append(found.high - found.low)
    assert Bootstrap(200, n_draws=500, seed=(0,)).pearson(truth, prediction, np.arange(2000) // 10) == Bootstrap(
        200, n_draws=500, seed=(0,)
    ).pearson(truth, prediction, np.arange(2000) // 10)
    assert widths[0] < 0.1


def test_one_document_has_no_interval_and_draws_without_an_active_position_are_left_out() -> None:
    flat = drawn(0)
    one = Bootstrap(1, n_draws=100, seed=(0,))
    assert one.pearson(flat.truth, flat.prediction, np.zeros(len(flat.truth), int)) == (None, None)
    assert one.ranking(flat) == ((None, None), (None, None))
    active = np.zeros(len(flat.truth), bool)
    active[0] = True
    rare = Flat(flat.truth, active, flat.prediction, flat.documents)
    for low, high in draws().ranking(rare):
        assert low is not None and high is not None and 0 <= low <= high <= 1


def test_a_draw_in_which_nothing_varies_is_left_out() -> None:
    """Only document 1 has a prediction that is not 0: draws without it have no correlation."""
    truth, prediction = np.tile([0.0, 0.1], 4), np.array([0, 0, 0, 1.0, 0, 0, 0, 0])
    found = Bootstrap(4, n_draws=300, seed=(0,)).pearson(truth, prediction, np.arange(8) // 2)
    assert found.low is not None and found.high is not None and 0 < found.low <= found.high <= 1
