"""The explainer without a language model, on texts whose rule is visible and on planted neurons."""

from __future__ import annotations

import functools
import random

import numpy as np
import pytest
from scored_texts import rule_for, text, texts_where

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.scoring.lookup.describe import describe
from neuron_signatures.scoring.lookup.rule import find_rule
from neuron_signatures.scoring.planted.neurons import Planted, plant
from neuron_signatures.scoring.planted.passages import Passages, demo_passages
from neuron_signatures.scoring.texts import Text

FILLER = "one two three four five six seven eight nine ten eleven twelve"


def found(texts: list[Text], **kwargs: int) -> Rule:
    rule = find_rule(texts, **kwargs)
    assert rule is not None
    return rule


def sentences(*patterns: str, n: int = 12) -> list[str]:
    """Each pattern n times with other filler words around it."""
    words = FILLER.split()
    return [f"{words[i % 12]} {words[(i + 5) % 12]} {p} {words[(i + 3) % 12]}" for i in range(n) for p in patterns]


def test_one_token_is_found_with_its_mean_precision_and_recall() -> None:
    texts = texts_where(sentences("Austin", "Boston"), {"Austin": 4.0})
    rule = found(texts)
    assert (rule.ngrams, rule.acts, rule.threshold) == ([[" Austin"]], [4.0], 1.0)
    assert (rule.precision, rule.recall, rule.n_active, rule.n_named) == (1, 1, 12, 12)


def test_a_class_is_found_with_the_most_frequent_word_first() -> None:
    texts = texts_where(sentences("Austin Dallas", "Dallas", "Boston"), {"Austin": 4.0, "Dallas": 3.0})
    assert found(texts).ngrams == [[" Dallas"], [" Austin"]]


def test_an_ngram_is_found_where_the_last_token_alone_is_silent() -> None:
    texts = []
    for i, s in enumerate(sentences("New York", "of York", "New Jersey")):
        words = s.split()
        acts = [4.0 if w == "York" and words[j - 1] == "New" else 0.0 for j, w in enumerate(words)]
        texts.append(text(s, acts, window=i))
    rule = found(texts)
    assert rule.ngrams == [[" New", " York"]]
    assert rule.precision == rule.recall == 1


def test_a_token_replaces_the_ngrams_that_end_with_it() -> None:
    strong = sentences("in Austin", n=30) + sentences("near Austin", "by Austin")
    assert found(texts_where(strong, {"Austin": 4.0})).ngrams == [[" Austin"]]


def test_exactly_matching_tokens_only() -> None:
    texts = [text([f" {i}", " Austin", "Austin"], [0.0, 4.0, 0.0], window=i) for i in range(12)]
    assert found(texts).ngrams == [[" Austin"]]


def test_a_token_that_is_active_in_one_document_only_is_no_candidate() -> None:
    lines = ["x a Austin Austin Austin Austin Austin Austin", *sentences("Boston")]
    assert find_rule(texts_where(lines, {"Austin": 4.0})) is None


def test_chance_does_not_make_a_rule() -> None:
    random_ = np.random.default_rng(0)
    words = np.array(FILLER.split())
    for _ in range(20):
        lines = [" ".join(random_.choice(words, 20)) for _ in range(60)]
        texts = [text(line, (random_.random(20) < 0.02).astype(float), window=i) for i, line in enumerate(lines)]
        assert find_rule(texts) is None


def test_a_pole_that_is_never_active_has_no_rule() -> None:
    texts = [text(s, [-1.0] * len(s.split()), window=i) for i, s in enumerate(sentences("Austin"))]
    assert find_rule(texts) is None
    assert find_rule([]) is None


def test_activations_below_a_quarter_of_the_largest_are_not_active() -> None:
    rule = found(texts_where(sentences("Austin", "Dallas", "Boston"), {"Austin": 4.0, "Dallas": 1.01, "Boston": 0.99}))
    assert sorted(rule.ngrams) == [[" Austin"], [" Dallas"]]


def test_positions_that_do_not_count_are_context_only() -> None:
    texts = [text(f"New York w{i}", [9.0, 4.0, 0.0], window=i, first=1) for i in range(12)]
    texts += [text(f"of York w{i}", [0.0, 0.0, 0.0], window=20 + i, first=1) for i in range(12)]
    rule = found(texts)
    assert (rule.ngrams, rule.threshold, rule.n_active) == ([[" New", " York"]], 1.0, 12)


def test_the_order_of_texts_does_not_matter() -> None:
    lines = sentences("Austin Dallas", "Dallas", "Boston Houston", "Houston")
    texts = texts_where(lines, {"Austin": 4.1, "Dallas": 3.3, "Houston": 2.7})
    shuffled = texts[:]
    random.Random(1).shuffle(shuffled)
    assert find_rule(shuffled[:20], shuffled[20:], n_positions=900) == find_rule(
        texts_in(texts, shuffled[:20]), texts_in(texts, shuffled[20:])[::-1], n_positions=900
    )


def texts_in(ordered: list[Text], some: list[Text]) -> list[Text]:
    windows = {t.window for t in some}
    return [t for t in ordered if t.window in windows]


def test_precision_and_recall_are_those_of_the_corpus_and_not_of_the_strongest_windows() -> None:
    """Ten windows of 1,000 are listed, in which ` Austin` is active; in a tenth of the rest it stands and is silent."""
    listed = [text(f"w{i} Austin", [0.0, 4.0], window=i) for i in range(10)]
    sampled = [text(f"v{i} {'Austin' if i < 10 else 'Boston'}", [0.0, 0.0], window=100 + i) for i in range(100)]
    rule = find_rule(sampled, listed, n_positions=2 * 1000)
    # Ten positions are active; named are those and 10 of 100 sampled, which stand for 990 windows.
    assert rule is not None
    assert rule.precision == pytest.approx(10 / (10 + 10 * 9.9), rel=1e-5)
    assert (rule.recall, rule.n_active, rule.n_named) == (1, 10, 20)
    unweighted = find_rule(sampled, listed)
    assert unweighted is not None and unweighted.precision == 0.5


def test_a_window_in_both_lists_counts_once() -> None:
    texts = texts_where(sentences("Austin"), {"Austin": 4.0})
    assert find_rule(texts, texts[:5]) == find_rule(texts)


def test_the_sentence_names_variants_together_and_escapes_what_controls_a_terminal() -> None:
    rule = rule_for([" Austin"], ["\x1b[31m"], ["austin"], ["\n", " def"]).model_copy(
        update={"precision": 0.934, "recall": 1.0}
    )
    sentence = describe(rule)
    assert sentence == r"fires on ·Austin (also austin), \x1b[31m, ⏎·def (precision .93, recall 1.00 on explain)"
    assert sentence.isprintable()


def test_punctuation_in_a_rule_is_quoted() -> None:
    sentence = describe(rule_for([","], [" is"], ["Question", ":"]))
    assert sentence.startswith("fires on “,”, ·is, “Question:” (precision")


def test_a_long_rule_is_cut_in_the_sentence() -> None:
    sentence = describe(rule_for(*([f" w{i}"] for i in range(30)), ["x" * 9000]))
    assert "·w11 and 19 more (precision undefined" in sentence
    assert len(describe(rule_for(["x" * 9000]))) < 200


@functools.cache
def passages() -> Passages:
    return demo_passages(2000, seed=0)


def rule_of_planted(neuron: Planted) -> set[tuple[str, ...]]:
    rule = find_rule(neuron.texts(passages(), "explain"))
    return set() if rule is None else {tuple(ngram) for ngram in rule.ngrams}


@pytest.mark.parametrize("kind", ["token", "class", "pair"])
@pytest.mark.parametrize("seed", range(4))
def test_the_rule_of_a_planted_token_class_or_pair_is_exactly_what_was_planted(kind, seed: int) -> None:
    for neuron in plant(passages(), kind, 10, seed=seed):
        assert rule_of_planted(neuron) == {(token,) for token in neuron.rule.tokens}, neuron.rule.truth


def test_what_it_says_of_a_negation_are_the_token_or_ngrams_that_end_with_it() -> None:
    """It cannot say `unless`: its precision is low, or it lists what may come before."""
    for neuron in plant(passages(), "negation", 10, seed=0):
        (token,) = neuron.rule.tokens
        ngrams = rule_of_planted(neuron)
        assert ngrams and all(ngram[-1] == token for ngram in ngrams), neuron.rule.truth
        assert not any(ngram[-2:] == (neuron.rule.before, token) for ngram in ngrams)


def test_of_a_position_it_lists_what_often_stands_there_with_low_recall() -> None:
    for neuron in plant(passages(), "position", 7, seed=0):
        rule = find_rule(neuron.texts(passages(), "explain"))
        assert rule is not None and rule.recall is not None and rule.precision is not None
        assert min(rule.precision, rule.recall) < 0.8
