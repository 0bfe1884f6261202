"""Areas under ROC curves and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from neuron_signatures.stats.auroc import areas, score_interval


def test_areas_equal_those_of_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(0)
    values, in_a = rng.integers(0, 5, (40, 30)).astype(float), rng.random(40) < 0.4
    found = areas(values, in_a)
    assert found.auroc == pytest.approx([roc_auc_score(in_a, column) for column in values.T], abs=1e-12)
    assert (found.low <= found.auroc).all() and (found.auroc <= found.high).all()


def test_variance_is_that_of_delong() -> None:
    """The structural components, one by one."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.5, 1, 12), rng.normal(0, 1, 15)
    wins = (a[:, None] > b).astype(float)
    auroc = wins.mean()
    sd = np.sqrt(wins.mean(axis=1).var(ddof=1) / 12 + wins.mean(axis=0).var(ddof=1) / 15)
    half = 1.959964 * sd / (auroc * (1 - auroc))
    found = areas(np.r_[a, b][:, None], np.r_[np.ones(12, bool), np.zeros(15, bool)])
    assert found.low == pytest.approx(1 / (1 + np.exp(-(np.log(auroc / (1 - auroc)) - half))))
    assert found.high == pytest.approx(1 / (1 + np.exp(-(np.log(auroc / (1 - auroc)) + half))))


def test_a_perfect_separation_is_not_certain() -> None:
    values = np.r_[np.ones(10), np.zeros(10)][:, None]
    found = areas(values, values[:, 0] > 0)
    assert found.auroc.item() == 1 and found.high.item() == 1
    assert 0.6 < found.low.item() < 0.95
    mirrored = areas(-values, values[:, 0] > 0)
    assert mirrored.low.item() == 0 and mirrored.high.item() == pytest.approx(1 - found.low.item())


def test_a_constant_column_says_nothing() -> None:
    found = areas(np.zeros((20, 1)), np.arange(20) < 8)
    assert found.auroc.item() == 0.5
    assert found.low.item() < 0.35 and found.high.item() > 0.65


def test_score_interval_solves_its_equation() -> None:
    n_a, n_b = 20, 30
    n = (n_a + n_b) / 2 - 1
    for auroc in (0.3, 0.8, 1.0):
        low, _ = score_interval(auroc, n_a, n_b)
        variance = low * (1 - low) * (1 + n * ((1 - low) / (2 - low) + low / (1 + low))) / (n_a * n_b)
        assert auroc - low == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-6)


@pytest.mark.parametrize("true", [0.7, 0.95])
def test_intervals_cover_the_true_area(true: float) -> None:
    """Of two normal distributions, 40 and 60 observations, 1000 samples as columns."""
    from scipy import stats

    rng, shift = np.random.default_rng(2), np.sqrt(2) * stats.norm.ppf(true)
    in_a = np.arange(100) < 40
    found = areas(rng.normal(0, 1, (100, 1000)) + shift * in_a[:, None], in_a)
    covered = ((found.low <= true) & (true <= found.high)).mean()
    assert 0.92 <= covered <= 0.98
