"""`output`: what the neuron does to the model's next token, from its weights and from measurements of stage 3."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.evidence.output import MeasuredChange, SteeredText, Writes
from neuron_signatures.explain.explainers import invented
from neuron_signatures.explain.explainers.budget import TooLittle, fitted
from neuron_signatures.explain.explainers.layout import Instructions, measured, written
from neuron_signatures.explain.prompt import Prompt

SHOWN = (
    "the tokens that the weights of the neuron make more likely when it is active, and those that they "
    "make less likely, in quotation marks (a space within them is part of the token), each with its strength, of which "
    "10 is the largest. There may also be measurements: how the prediction after a text changed when this neuron alone "
    "was raised or lowered. A change is only remarkable if its p is small."
)
NO_WRITES = "the run has no write scores of this neuron; poc2_analyze_run --mode write_scores computes them"
MOST_CHANGES, MOST_TEXTS = 5, 6


def build(evidence: NeuronEvidence) -> Prompt | TooLittle:
    """`evidence` of the prompt is empty: it shows no window."""
    if evidence.writes is None or not evidence.writes.promotes:
        return TooLittle(NO_WRITES)
    lines = sections(evidence.writes, evidence.changes, evidence.steered, evidence.settings.n_written)
    return fitted(INSTRUCTIONS, [], lambda _: lines, evidence.settings)


def sections(
    writes: Writes, changes: Sequence[MeasuredChange], texts: Sequence[SteeredText], n_written: int
) -> list[str]:
    return [*written(writes, n_written), *measured(changes[:MOST_CHANGES], texts[:MOST_TEXTS])]


INSTRUCTIONS = Instructions(
    "output-1",
    f"You study one neuron of a language model. You are given {SHOWN} Find out what the neuron makes the model say.\n\n"
    "Answer with one short phrase of at most 20 words that completes the sentence “The neuron makes the model say "
    "...”. Name what the tokens have in common; tokens that do not fit may be noise. Give no list of words, no "
    "quotation and no comment.",
    ((sections(invented.BOAT_WRITES, invented.BOAT_CHANGES, (), 10), invented.BOATS),),
    question="What does the neuron make the model say? Answer with one short phrase.",
)
