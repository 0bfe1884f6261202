"""The prompt that asks for a revision: the explanation and its mistakes, which are of the part `select`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hand_made_records import AT, records_of

from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.evidence.settings import EvidenceSettings
from neuron_signatures.explain.explainers.build import Prompt, TooLittle, read_answer
from neuron_signatures.explain.revise import BOTH, INSTRUCTIONS, revision_prompt
from neuron_signatures.llm.forecast import estimated_tokens
from neuron_signatures.scoring.mistakes import Mistake, Mistakes
from neuron_signatures.scoring.texts import Text


def mistake(window: int, tokens: str, pos: int) -> Mistake:
    pieces = tuple(tokens.split("|"))
    text = Text(window, window, pieces, np.zeros(len(pieces), np.float32), np.ones(len(pieces), bool))
    return Mistake(text, pos, 0.9, 0.1)


WRONG, MISSED = mistake(91, " a| green| leaf", 1), mistake(92, " the| rose| is", 1)


@pytest.fixture
def evidence(tmp_path):
    top = [f" red={9 - i}| w{i}" for i in range(7)]
    return NeuronEvidence.open(records_of(tmp_path / "run", top, top), AT, EvidenceSettings())


def test_it_shows_the_explanation_and_both_kinds_of_mistakes(evidence):
    prompt = revision_prompt("highlighted", evidence, "colours", Mistakes((WRONG,), (MISSED,)))
    assert isinstance(prompt, Prompt) and prompt.version == "revise-1"
    assert prompt.messages[-1].content.split("\n")[1:-2] == [
        "⟦current explanation⟧", "colours", "⟦strongest activations⟧", "1. « red» w0", "2. « red» w1", "3. « red» w2",
        "4. « red» w3", "5. « red» w4", "⟦predicted, but not active⟧", "1.  a« green» leaf",
        "⟦active, but not predicted⟧", "1.  the« rose» is",
    ]  # fmt: skip
    assert prompt.evidence[-2:] == (91, 92) and len(prompt.evidence) == 7
    assert prompt.messages[:-1] == INSTRUCTIONS.messages([])[:-1]


def test_one_kind_of_mistakes_is_enough(evidence):
    text = revision_prompt("contrastive", evidence, "colours", Mistakes((), (MISSED,))).messages[-1].content
    assert "⟦active, but not predicted⟧" in text and "⟦predicted, but not active⟧" not in text


def test_there_is_no_revision_without_mistakes_or_of_the_output(evidence):
    assert isinstance(revision_prompt("highlighted", evidence, "colours", Mistakes((), ())), TooLittle)
    assert isinstance(revision_prompt("output", evidence, "nouns", Mistakes((WRONG,), ())), TooLittle)


def test_both_is_asked_for_two_lines(evidence):
    prompt = revision_prompt("both", evidence, "fires on colours; makes the model say nouns", Mistakes((WRONG,), ()))
    assert prompt.version == "revise_both-1"
    (answer,) = (text for _, text in BOTH.examples)
    assert read_answer("both", answer.replace("weight", "mass")).startswith("fires on units of mass")


def test_mistakes_have_no_place_beyond_the_limit(evidence):
    many = Mistakes(tuple(mistake(100 + i, f" a{i}| green{'| leaf' * 30}", 1) for i in range(20)), (MISSED,))
    whole = revision_prompt("highlighted", evidence, "colours", many)
    limit = estimated_tokens(whole.messages) - 100
    less = revision_prompt(
        "highlighted", evidence.with_settings(replace(evidence.settings, max_prompt_tokens=limit)), "colours", many
    )
    assert 92 in less.evidence and less.n_dropped > 0 and estimated_tokens(less.messages) <= limit
