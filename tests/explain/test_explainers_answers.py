"""What is read out of an answer: one phrase or two parts, else a reason why not."""

from __future__ import annotations

import pytest

from neuron_signatures.explain.explainers.build import UnparsableAnswer, is_refusal, read_answer

PLAIN = "words for colours after an article"


@pytest.mark.parametrize("text", [
    PLAIN, f"  {PLAIN}\n", f'"{PLAIN}"', f"\u201c{PLAIN}\u201d", f"**{PLAIN}**", f"Explanation: {PLAIN}",
    f"**Explanation:** {PLAIN}", f'Answer: "{PLAIN}"', f"The neuron is active on {PLAIN}",
    f"This neuron fires on {PLAIN}", f"The neuron activates strongly for {PLAIN}", f"It responds to {PLAIN}",
    f"Sure! Here is the phrase:\n\n{PLAIN}", f"<think>\nred, blue...\n</think>\n\n{PLAIN}",
    f"{PLAIN}\n\nThis is because all of the excerpts mention one.",
    f"Based on the excerpts, the neuron is active on {PLAIN}",
    f"The neuron appears to be active on {PLAIN}", f"`{PLAIN}`", f'"The neuron is active on {PLAIN}"',
    f"Explanation:\n{PLAIN}", f"- {PLAIN}", f"•{PLAIN}",
])  # fmt: skip
@pytest.mark.parametrize("explainer", ["highlighted", "token_lookup"])
def test_a_phrase_is_found_in_what_is_around_it(explainer, text):
    assert read_answer(explainer, text) == PLAIN


@pytest.mark.parametrize("text", [
    'the word "red" and the word "blue"', "colours: red, blue and green", "It", "the neuron",
    "When a text is about rain.",
    "the token 'is' before an adjective", "*args and **kwargs",
    "lists such as apples, pears, plums and similar fruit in recipes",
    "The neuron's name", "verbs, nouns, and adjectives",
])  # fmt: skip
def test_what_belongs_to_the_phrase_stays(text):
    assert read_answer("highlighted", text) == text


@pytest.mark.parametrize(("text", "why"), [
    ("", "empty"), (" \n\t", "empty"), ('""', "empty"), ("Explanation:", "empty"), ("...", "empty"),
    ("The neuron is active on", "empty"), ('"the neuron is active on"\n\nthe token', "empty"),
    ("- red\n- blue\n- green", "a list"), ("1. red things\n2. blue things", "a list"),
    ("The answers:\n* red\n* blue", "a list"), ("red, blue, green, pale yellow, pink, grey", "a list of words"),
    ("word " * 61, "longer than"), ("x" * 501, "longer than"), ("<think>red, blue", "before its thinking"),
    ("<think>red</think>", "empty"), ("Units of weight after a quantity.", "repeats an example"),
])  # fmt: skip
def test_other_answers_are_refused_with_a_reason(text, why):
    with pytest.raises(UnparsableAnswer, match=why):
        read_answer("contrastive", text)


@pytest.mark.parametrize("text", [
    "fires on: colours\nmakes the model say: nouns", "Fires on: colours\nMakes the model say: nouns",
    "**fires on:** colours\n**makes the model say:** nouns", "1. fires on: colours\n2. makes the model say: nouns",
    "- fires on colours\n- makes the model say nouns", "fires on colours; makes the model say nouns",
    'Here are the two lines:\nfires on: "colours"\n\nmakes the model say: "nouns"\n\nI hope this helps.',
])  # fmt: skip
def test_both_has_two_parts(text):
    assert read_answer("both", text) == "fires on colours; makes the model say nouns"


@pytest.mark.parametrize("text", [
    "fires on: colours", "makes the model say: nouns", "colours", "makes the model say: nouns\nfires on: colours",
    "fires on:\nmakes the model say: nouns", "fires on: colours\nmakes the model say:", "",
])  # fmt: skip
def test_both_without_two_parts_is_refused(text):
    with pytest.raises(UnparsableAnswer):
        read_answer("both", text)


def test_quotation_marks_around_a_sentence_with_quotations():
    assert read_answer("highlighted", '"The neuron is active on the "F" token"') == 'the "F" token'


@pytest.mark.parametrize("text", [
    "I'm sorry, but I can't help with that.", "I\u2019m sorry, I cannot assist with this request.",
    "I cannot provide that.",
    "I can't help with that.", "Sorry, I can't do that.", "As an AI language model, I do not have access.",
    "I am unable to determine what the neuron is active on.", "Unfortunately, I cannot answer this.",
    "<think>hm</think>\nI'm sorry, but I can't.", "I apologize, but I am not able to continue.",
    "I won't help with that.",
])  # fmt: skip
def test_refusals_are_told_apart(text):
    assert is_refusal(text)


@pytest.mark.parametrize("text", [
    PLAIN, "refusals such as I'm sorry, but I can't", "phrases that apologise (“sorry”)",
    "the word sorry before a refusal",
    "sorry in apologies", "I and other first-person pronouns", "negated modal verbs such as cannot",
    "I can see, in lyrics",
    "unfortunately and other sentence adverbs", "as an AI model in product pages", "statements of inability",
])  # fmt: skip
def test_explanations_about_refusals_are_none(text):
    assert not is_refusal(text)
