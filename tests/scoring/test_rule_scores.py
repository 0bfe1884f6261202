"""Precision and recall of a rule, and the null of other neurons' explanations."""

from __future__ import annotations

import numpy as np
import pytest
from scored_texts import rule_for, text, texts_where

from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.scoring.nulls import draw_others
from neuron_signatures.scoring.rule_scores import RuleScore, score_rule
from neuron_signatures.stats.pooled_null import null_of

RULE = rule_for([" Austin"], [" in", " Boston"])
SENTENCES = ["Austin x x x", "in Boston Boston x", "Austin in x x"]


def scored(acts: dict[str, float], threshold: float = 1.0) -> RuleScore:
    return score_rule(RULE, texts_where(SENTENCES, acts), threshold=threshold, n_draws=400, seed=0)


def test_precision_and_recall_count_positions() -> None:
    score = scored({"Austin": 2.0, "Boston": 1.0})  # active: Austin, Boston, Boston, Austin; named: three of them
    assert (score.precision.value, score.recall.value) == (1, 0.75)
    assert (score.n_active, score.n_named, score.n_positions) == (4, 3, 12)
    assert score.f1 == pytest.approx(2 * 1 * 0.75 / 1.75)


def test_a_position_is_active_from_the_threshold_that_is_given() -> None:
    assert scored({"Austin": 2.0, "Boston": 1.0}, threshold=1.5).recall.value == 1
    assert scored({"Austin": 2.0, "Boston": 1.0}, threshold=1.5).precision.value == pytest.approx(2 / 3)


def test_shares_of_nothing_are_undefined() -> None:
    silent = scored({})
    assert (silent.recall.value, silent.recall.low, silent.precision.value, silent.f1) == (None, None, 0, 0)
    unnamed = score_rule(rule_for([" Ohio"]), texts_where(["a"], {}), threshold=1.0, n_draws=10, seed=0)
    assert (unnamed.precision.value, unnamed.f1) == (None, None)


def test_positions_that_do_not_count_are_neither_named_nor_active() -> None:
    score = score_rule(RULE, [text("Austin in Boston", [2.0, 0.0, 2.0], first=1)], threshold=1.0, n_draws=10, seed=0)
    assert (score.n_active, score.n_named, score.n_positions) == (1, 1, 2)


def test_the_interval_covers_the_share_of_a_larger_population() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for seed in range(60):
        right = random.random(60) < 0.7
        texts = [text("Austin", [2.0 if r else 0.0], window=i) for i, r in enumerate(right)]
        found = score_rule(RULE, texts, threshold=1.0, n_draws=300, seed=seed).precision
        assert found.value is not None and found.low is not None and found.high is not None
        assert found.low <= found.value <= found.high
        covered += found.low <= 0.7 <= found.high
    assert covered >= 51  # of 57 expected


def test_the_interval_is_over_documents_and_not_over_positions() -> None:
    documents = [i // 20 for i in range(200)]
    acts = [2.0 if d % 2 else 0.0 for d in documents]
    texts = [text("Austin", [a], window=i, document=d) for i, (a, d) in enumerate(zip(acts, documents, strict=True))]
    found = score_rule(RULE, texts, threshold=1.0, n_draws=500, seed=0).precision
    assert found.low is not None and found.high is not None
    assert found.high - found.low > 0.4  # ten documents; of 200 independent positions it would be .14


ATS = [NeuronPole(layer, n, pole) for layer in (0, 1) for n in range(5) for pole in ("+", "-")]


def test_others_are_of_the_same_layer_and_never_the_same_neuron() -> None:
    draws = draw_others(ATS, per_neuron=6, seed=0)
    assert len(draws) == 6 * len(ATS)
    assert all(d.at.layer == d.other.layer and d.at.neuron != d.other.neuron for d in draws)
    assert len(set(draws)) == len(draws)
    assert draws == draw_others(ATS[::-1], per_neuron=6, seed=0) != draw_others(ATS, per_neuron=6, seed=1)


def test_with_few_others_all_are_drawn() -> None:
    draws = draw_others(ATS, per_neuron=50, seed=0)
    assert len(draws) == 8 * len(ATS)


def test_a_neuron_alone_in_its_layer_has_no_null() -> None:
    assert draw_others([NeuronPole(0, 1, "+"), NeuronPole(0, 1, "-")], per_neuron=3, seed=0) == []


def test_the_share_at_least_as_good_is_never_zero() -> None:
    null = null_of([0.1, 0.2, 0.3, None])
    assert null.share_at_least(0.2) == pytest.approx(3 / 5)
    assert null.share_at_least(0.9) == pytest.approx(1 / 5)
    assert null.spread == pytest.approx(0.1)


def test_without_draws_a_null_says_nothing() -> None:
    null = null_of([])
    assert (null.mean, null.spread, null.share_at_least(0.5)) == (None, None, None)
