"""The scorers tested on neurons whose meaning is known."""

from __future__ import annotations

import numpy as np
import pytest
from check_scorers import check, passages, table
from paths import TESTS
from scored_texts import Fixed, texts_where

from neuron_signatures.scoring.planted.neurons import PLANTED_KINDS, Planted, plant
from neuron_signatures.scoring.planted.ranking import Case, rank_truths
from neuron_signatures.scoring.scores import correlation_uniform
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.simulators.rule import RuleSimulator
from neuron_signatures.scoring.texts import Text

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
    print(table(rows))
    assert {row.kind for row in rows} == {*PLANTED_KINDS, "puzzles"}
    assert all(row.holds for row in rows), table(rows)
    position = next(row.ranking for row in rows if row.kind == "position")
    assert 0.3 <= position.auroc <= 0.7  # it cannot


@pytest.mark.real
def test_the_embedding_scorer_ranks_truths_above_false_explanations() -> None:
    rows = check(["embedding"], 5, 0, PUZZLES)
    print(table(rows))
    assert all(row.holds for row in rows), table(rows)


def labels_of(neuron: Planted, texts: list[Text]) -> list[np.ndarray]:
    """1 where the rule says that the neuron is active."""
    return [(np.array(neuron.rule.strength_index(text.tokens)) >= 0).astype(np.float32) for text in texts]


def correlation(labels: np.ndarray, texts: list[Text]) -> float:
    """Of labels at all positions of the texts, one after the other."""
    rows = np.split(labels, np.cumsum([len(text.tokens) for text in texts])[:-1])
    value = correlation_uniform(Fixed(*[row.tolist() for row in rows]), Said("x"), texts).value
    assert value is not None
    return value


@pytest.mark.parametrize("kind", PLANTED_KINDS)
def test_the_correlation_falls_if_labels_are_missing_or_added(kind) -> None:
    """The two sanity checks of NeuronEval (Oikarinen, Yan and Weng 2025): half of a concept's labels are removed, or as
    many are added at random."""
    random = np.random.default_rng(0)
    for neuron in plant(passages(), kind, 3, seed=1):
        texts = neuron.texts(passages(), "explain")
        whole = np.concatenate(labels_of(neuron, texts))
        halved, doubled = whole.copy(), whole.copy()
        here, elsewhere = (random.permutation(np.flatnonzero(whole == label)) for label in (1, 0))
        halved[here[: len(here) // 2]] = 0
        doubled[elsewhere[: len(here)]] = 1
        assert correlation(halved, texts) < correlation(whole, texts) - 0.1
        assert correlation(doubled, texts) < correlation(whole, texts) - 0.1


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
