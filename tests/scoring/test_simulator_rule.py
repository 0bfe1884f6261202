"""The simulator `rule`: n-grams of a rule, and words of any explanation."""

from __future__ import annotations

import numpy as np
import pytest
from scored_texts import rule_for, text

from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.simulators.rule import RuleSimulator
from neuron_signatures.scoring.simulators.words import explanation_stems, stem


def predicted(said: Said, tokens: list[str]) -> list[float] | None:
    found = RuleSimulator().simulate(said, [text(tokens, [0.0] * len(tokens))])
    return None if found is None else found[0].tolist()


def test_a_rule_predicts_the_mean_activation_at_the_last_token_of_the_longest_ngram() -> None:
    rule = rule_for([" Austin"], [" in", " Austin"], acts=[2.0, 5.0])
    tokens = [" in", " Austin", " and", " Austin", "Austin"]
    assert predicted(Said("whatever it says", rule), tokens) == [0, 5, 0, 2, 0]


def test_an_ngram_does_not_reach_over_the_beginning_of_a_text() -> None:
    assert predicted(Said("", rule_for([" in", " Austin"])), [" Austin", " in"]) == [0, 0]


def test_a_rule_that_names_nothing_in_a_text_predicts_zeros() -> None:
    assert predicted(Said("", rule_for([" Boston"])), [" Austin"]) == [0]


def test_words_match_by_stem_without_regard_to_case_and_stop_words_do_not_match() -> None:
    said = Said("words about the capital cities of Texas")
    assert predicted(said, ["The", " city", " of", " texas", " CAPITALS"]) == [0, 1, 0, 1, 1]


def test_a_word_of_several_tokens_matches_at_its_last_token() -> None:
    assert predicted(Said("Montpelier"), [" Mont", "pel", "ier", " is", " Mont", "real"]) == [0, 0, 1, 0, 0, 0]


def test_a_word_is_not_found_inside_another_word() -> None:
    assert predicted(Said("words about art"), [" p", "art", "ies", " art"]) == [0, 0, 0, 1]


@pytest.mark.parametrize("text_", ["", "the", "words that are used in such a context", "?!"])
def test_without_words_nothing_can_be_predicted(text_: str) -> None:
    assert predicted(Said(text_), [" the", " words"]) is None


@pytest.mark.parametrize("quote", ['"not"', "'not'", "\u201cnot\u201d", "`not`", "\u2018not\u2019"])
def test_a_stop_word_counts_in_quotation_marks(quote: str) -> None:
    assert explanation_stems(f"the word {quote}") == {"not"}


def test_an_apostrophe_is_no_quotation_mark() -> None:
    assert explanation_stems("the dog's and the cats' food") == {"dog", "cat", "food"}


@pytest.mark.parametrize(
    "words",
    ["capital capitals", "city cities", "stop stops stopped stopping", "move moves moved moving", "quick quickly",
     "box boxes", "try tries tried trying", "class classes", "state states stated stating", "dog dog's"],
)  # fmt: skip
def test_forms_of_a_word_share_a_stem(words: str) -> None:
    assert len({stem(word) for word in words.split()}) == 1


@pytest.mark.parametrize("words", ["bus bush", "this thin", "king k", "red r", "is i"])
def test_short_words_keep_their_ends(words: str) -> None:
    assert len({stem(word) for word in words.split()}) == 2


def test_predictions_are_float32_and_one_per_token() -> None:
    found = RuleSimulator().simulate(Said("x"), [text("a x b", [0.0, 0.0, 0.0], first=2)])
    assert found is not None
    assert found[0].dtype == np.float32
    assert found[0].tolist() == [0, 1, 0]
