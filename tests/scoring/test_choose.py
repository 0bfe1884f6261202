"""The best of several explanations, and where one is wrong."""

from __future__ import annotations

from scored_texts import Fixed, rule_for, text, texts_where

from neuron_signatures.scoring.choose import choose_best
from neuron_signatures.scoring.mistakes import find_mistakes
from neuron_signatures.scoring.scores import correlation_uniform
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.simulators.rule import RuleSimulator

TEXTS = texts_where(["a Austin b", "Boston c d", "Austin Denver e"], {"Austin": 4.0, "Denver": 2.0})


def test_the_best_explanation_has_the_highest_correlation() -> None:
    said = {"1": Said("Boston"), "2": Said("Austin and Denver"), "3": Said("Austin")}
    choice = choose_best(said, RuleSimulator(), TEXTS)
    expected = {id_: correlation_uniform(RuleSimulator(), s, TEXTS).value for id_, s in said.items()}
    assert choice.values == expected
    assert (choice.best, choice.is_decided) == (max(expected, key=lambda k: expected[k] or 0), True)
    assert expected["1"] is not None and expected["1"] < 0


def test_of_equal_explanations_the_first_is_chosen() -> None:
    assert choose_best({"b": Said("Austin"), "a": Said("austin")}, RuleSimulator(), TEXTS).best == "b"


def test_an_undefined_score_is_worse_than_any_defined_one() -> None:
    choice = choose_best({"1": Said("the"), "2": Said("Boston")}, RuleSimulator(), TEXTS)
    assert choice.values["1"] is None
    assert (choice.best, choice.is_decided) == ("2", True)


def test_if_all_are_undefined_the_first_is_taken_and_it_says_so() -> None:
    choice = choose_best({"2": Said("the"), "1": Said("zebra")}, RuleSimulator(), TEXTS)
    assert (choice.best, choice.is_decided, choice.values) == ("2", False, {"1": None, "2": None})


def test_mistakes_are_what_is_predicted_and_silent_and_what_is_active_and_not_predicted() -> None:
    said = Said("", rule_for([" Austin"], [" Boston"], [" c"], acts=[4.0, 3.0, 1.0]))
    found = find_mistakes(RuleSimulator(), said, TEXTS, threshold=1.5, n=5)
    assert [(m.text.window, m.text.tokens[m.pos], m.predicted, m.actual) for m in found.false_positives] == [
        (1, " Boston", 0.75, 0.0)
    ]  # ` c` is the same text's lesser one
    assert [(m.text.window, m.text.tokens[m.pos], m.predicted, m.actual) for m in found.false_negatives] == [
        (2, " Denver", 0.0, 0.5)
    ]


def test_the_worst_mistakes_come_first_whatever_the_order_of_texts() -> None:
    texts = [text("x y", [0.0, 0.0], window=i, document=i) for i in range(4)]
    texts.append(text("z z", [5.0, 5.0], window=4))
    simulator = Fixed([0.5, 0.0], [0.9, 0.0], [0.7, 0.0], [0.0, 0.8], [0.0, 0.0])
    found = find_mistakes(simulator, Said("x"), texts, threshold=1.0, n=3)
    assert [m.text.window for m in found.false_positives] == [1, 3, 2]
    assert [m.pos for m in found.false_positives] == [0, 1, 0]
    reversed_ = Fixed(*[v.tolist() for v in simulator.values[::-1]])
    again = find_mistakes(reversed_, Said("x"), texts[::-1], threshold=1.0, n=3)
    assert [m.text.window for m in again.false_positives] == [1, 3, 2]


def test_an_activation_between_half_the_threshold_and_the_threshold_is_no_mistake() -> None:
    texts = [text("x y z", [0.9, 0.0, 5.0])]
    found = find_mistakes(Fixed([1.0, 0.0, 1.0]), Said("x"), texts, threshold=1.0, n=3)
    assert found.false_positives == ()


def test_positions_that_do_not_count_and_invalid_windows_are_no_mistakes() -> None:
    texts = [text("x y", [0.0, 5.0], first=1, window=0), text("x y", [0.0, 5.0], window=1)]
    found = find_mistakes(Fixed([9.0, 1.0], [9.0]), Said("x"), texts, threshold=1.0, n=3)
    assert found.false_positives == ()
    assert {m.text.window for m in found.false_negatives} <= {0}


def test_a_simulator_that_cannot_predict_finds_no_mistakes() -> None:
    found = find_mistakes(RuleSimulator(), Said("the"), TEXTS, threshold=1.0, n=3)
    assert (found.false_positives, found.false_negatives) == ((), ())
