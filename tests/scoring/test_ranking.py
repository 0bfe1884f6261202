"""The scorers tested on neurons whose meaning is known."""

from __future__ import annotations

import numpy as np
import pytest
from bench_scorers import ASKED, check, kinds_table, passages, trials_of
from paths import TESTS
from scored_texts import Fixed, texts_where

from neuron_signatures.scoring.planted.neurons import PLANTED_KINDS, plant
from neuron_signatures.scoring.planted.ranking import Case, rank_truths, ranking_of
from neuron_signatures.scoring.simulators.rule import RuleSimulator

PUZZLES = TESTS / "data" / "puzzles.json"
TEXTS = texts_where(["Austin a b", "c Boston d"], {"Austin": 1.0})


def test_a_scorer_that_knows_the_truth_has_an_auroc_of_one() -> None:
    cases = [Case("austin", "Austin", ("Boston", "c"), TEXTS)]
    found = rank_truths(RuleSimulator(), cases)
    assert (found.auroc, found.wins, found.chosen, found.true_mean) == (1, 1, 1, pytest.approx(1))


def test_a_scorer_that_says_the_same_of_all_explanations_has_one_half() -> None:
    found = rank_truths(Fixed([1.0, 0.0, 0.0], [0.0, 0.0, 0.0]), [Case("austin", "Austin", ("Boston", "c"), TEXTS)])
    assert (found.auroc, found.wins) == (0.5, 0.5)
    assert found.chosen == pytest.approx(1 / 3)


def test_an_undefined_score_ranks_below_all_others() -> None:
    found = rank_truths(RuleSimulator(), [Case("austin", "the", ("Boston",), TEXTS)])
    assert (found.auroc, found.chosen, found.true_mean, found.n_undefined_true) == (0, 0, None, 1)


def test_the_lexical_scorer_ranks_planted_truths_above_false_explanations() -> None:
    rows = check(["rule"], 5, 0, PUZZLES)
    print(kinds_table(rows))
    assert {row.kind for row in rows} == {*PLANTED_KINDS, "meant", "puzzles"}
    assert all(row.holds for row in rows), kinds_table(rows)
    position = next(row.ranking for row in rows if row.kind == "position")
    assert 0.3 <= position.auroc <= 0.7  # it cannot


@pytest.mark.real
def test_the_embedding_scorer_ranks_truths_above_false_explanations() -> None:
    rows = check(["embedding"], 5, 0, PUZZLES)
    print(kinds_table(rows))
    assert all(row.holds for row in rows), kinds_table(rows)
    assert all(row.ranking.auroc_low > 0.5 for row in rows if row.kind in ("meant", "puzzles")), kinds_table(rows)


def test_a_scorer_that_asks_is_tried_on_few_windows_in_which_the_neuron_is_active() -> None:
    trials = trials_of(ASKED, 3, 0, PUZZLES)
    assert {kind: len(some) for kind, some in trials.items()} == dict.fromkeys(PLANTED_KINDS, 3) | {"puzzles": 10}
    for trial in (trial for some in trials.values() for trial in some):
        groups = {group: len(texts) for group, texts in trial.texts.scored.items()}
        assert groups["top"] == 5 and 1 <= groups["random"] <= 5 and groups["uniform"] == 0
        assert not trial.texts.fitted and len(trial.false) == 1
        assert all(text.peak > max(trial.texts.threshold, 0) for text in trial.texts.scored["top"][:3])


def test_the_interval_of_an_auroc_is_over_neurons() -> None:
    good, bad = (0.9, (0.1, 0.2)), (0.0, (0.3, 0.4))
    found = ranking_of(*zip(*[good] * 10, strict=True))
    assert (found.auroc_low, found.auroc, found.auroc_high) == (1, 1, 1)
    mixed = ranking_of(*zip(*[good, bad] * 10, strict=True))
    assert mixed.auroc_low < mixed.auroc == 0.5 < mixed.auroc_high
    assert mixed == ranking_of(*zip(*[good, bad] * 10, strict=True))
    fewer = ranking_of(*zip(*[good, bad] * 3, strict=True))
    assert fewer.auroc_high - fewer.auroc_low > mixed.auroc_high - mixed.auroc_low


def test_planted_neurons_are_the_same_in_every_run_and_others_with_another_seed() -> None:
    first, again, other = (plant(passages(), "class", 3, seed=s) for s in (0, 0, 1))
    assert [n.rule for n in first] == [n.rule for n in again] != [n.rule for n in other]
    assert all(
        np.array_equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x.acts, y.acts, strict=True)
    )


@pytest.mark.parametrize("kind", PLANTED_KINDS)
def test_false_explanations_are_of_other_neurons_without_a_token_in_common(kind) -> None:
    for neuron in plant(passages(), kind, 8, seed=2):
        assert len(set(neuron.false)) == 3
        assert neuron.rule.truth not in neuron.false
        assert not any(f'"{t.strip()}"' in f for t in neuron.rule.tokens for f in neuron.false if kind != "negation")
