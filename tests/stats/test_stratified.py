"""Estimates from stratified samples: exact for a census, and intervals that cover what they claim to."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from neuron_signatures.stats.stratified import (
    Estimate,
    Strata,
    correlations,
    one_stratum,
    spearman_difference,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_a_census_is_exact_and_has_no_interval():
    draw = rng()
    truth = draw.normal(size=200).round(1)  # with ties
    scores = [truth + draw.normal(size=200).round(1), -truth, np.zeros(200)]
    found = correlations(scores, truth, one_stratum(200), rng())
    for score, c in zip(scores[:2], found, strict=False):
        assert c.pearson == (pytest.approx(stats.pearsonr(score, truth).statistic), None, None)
        assert c.spearman == (pytest.approx(stats.spearmanr(score, truth).statistic), None, None)
    assert found[2] == (Estimate(None, None, None), Estimate(None, None, None))  # constant


def test_weights_are_the_units_that_a_unit_stands_for():
    strata = Strata(np.array([0, 1, 1, 2]), np.array([1, 10, 5]))
    assert strata.weights.tolist() == [1, 5, 5, 5] and not strata.is_census
    assert one_stratum(3).is_census


def test_weighted_correlations_are_those_of_the_repeated_units():
    x, y = np.array([1.0, 2.0, 4.0, 3.0]), np.array([2.0, 1.0, 3.0, 9.0])
    strata = Strata(np.array([0, 0, 1, 1]), np.array([2, 6]))  # weights 1, 1, 3, 3
    (found,) = correlations([x], y, strata, rng())
    times = [1, 1, 3, 3]
    assert found.pearson.value == pytest.approx(np.corrcoef(np.repeat(x, times), np.repeat(y, times))[0, 1])
    assert found.spearman.value == pytest.approx(stats.spearmanr(np.repeat(x, times), np.repeat(y, times)).statistic)


@pytest.fixture(scope="module")
def population():
    """Heavy-tailed effects, a score of them, and two strata: the 100 largest scores, and the rest."""
    draw = rng(1)
    truth = draw.standard_t(3, size=3000)
    score = truth + draw.normal(size=3000)
    large = np.argsort(-abs(score))[:100]
    return truth, score, large, np.setdiff1d(np.arange(3000), large)


def test_intervals_cover_the_value_of_the_population(population):
    truth, score, large, rest = population
    want = (stats.pearsonr(score, truth).statistic, stats.spearmanr(score, truth).statistic)
    covered, errors = [], []
    for seed in range(60):
        drawn = np.concatenate([large, rng(seed).choice(rest, 150, replace=False)])
        strata = Strata(np.repeat([0, 1], [100, 150]), np.array([100, 2900]))
        (found,) = correlations([score[drawn]], truth[drawn], strata, rng(seed))
        covered += [e.low <= w <= e.high for e, w in zip(found, want, strict=True)]
        errors.append([e.value - w for e, w in zip(found, want, strict=True)])
    assert np.mean(covered) >= 0.9
    assert abs(np.mean(errors, axis=0)).max() < 0.02


def test_a_stratum_that_is_complete_adds_nothing_to_an_interval(population):
    truth, score, large, rest = population
    drawn = np.concatenate([large, rest[:2899]])  # one unit is missing
    strata = Strata(np.repeat([0, 1], [100, 2899]), np.array([100, 2900]))
    (found,) = correlations([score[drawn]], truth[drawn], strata, rng())
    assert all(e.high - e.low < 0.005 for e in found)


def test_the_better_of_two_scores_is_separated_and_a_copy_is_not(population):
    truth, score, _, _ = population
    worse = score + rng(2).normal(size=len(score))
    strata = one_stratum(len(truth))
    gap = spearman_difference(score, worse, truth, strata, rng())
    assert gap is not None and 0 < gap.low < gap.value < gap.high
    same = spearman_difference(score, score, truth, strata, rng())
    assert same == (0, 0, 0)
    assert spearman_difference(score, np.zeros(len(score)), truth, strata, rng()) is None


@pytest.mark.parametrize("constant", [0.0, 1 / 3, 1e9 / 7])
def test_a_constant_score_is_undefined_in_a_sample_too(population, constant):
    truth, score, large, rest = population
    drawn = np.concatenate([large, rest[:150]])
    strata = Strata(np.repeat([0, 1], [100, 150]), np.array([100, 2900]))
    same = np.full(len(drawn), constant)
    undefined = (Estimate(None, None, None), Estimate(None, None, None))
    assert correlations([same, score[drawn]], truth[drawn], strata, rng())[0] == undefined
    assert correlations([score[drawn]], same, strata, rng())[0] == undefined
    assert correlations([np.full(3000, constant)], truth, one_stratum(3000), rng())[0] == undefined


def test_an_interval_contains_its_value_and_what_the_sample_may_have_missed():
    truth = np.arange(1000.0)
    drawn = rng().choice(1000, 100, replace=False)
    strata = Strata(np.zeros(100, np.int64), np.array([1000]))
    (found,) = correlations([truth[drawn]], truth[drawn], strata, rng())
    assert found.pearson.low <= found.pearson.value <= found.pearson.high
    # of 28 or more units with other ranks, 100 draws of 1,000 find one in 95 % of the samples
    assert found.spearman.value == pytest.approx(1) and found.spearman.low == pytest.approx(1 - 0.0284, abs=1e-3)
    (reverse,) = correlations([-truth[drawn]], truth[drawn], strata, rng())
    assert reverse.spearman.high == pytest.approx(-1 + 0.0284, abs=1e-3)


def test_a_few_unrelated_ranks_among_many_equal_ones_are_covered():
    """Without the share that a sample may miss, the interval covers this value in about half of the samples."""
    truth = np.arange(2500.0)
    score = truth.copy()
    score[[3, 700, 2000]] = [2400.0, 5.0, 40.0]
    want = stats.spearmanr(score, truth).statistic
    covered = []
    for seed in range(60):
        drawn = rng(seed).choice(2500, 120, replace=False)
        strata = Strata(np.zeros(120, np.int64), np.array([2500]))
        (found,) = correlations([score[drawn]], truth[drawn], strata, rng(seed))
        covered.append(found.spearman.low <= want <= found.spearman.high)
    assert np.mean(covered) >= 0.9
