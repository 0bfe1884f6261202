"""`both`: what the neuron is active on and what it does to the output, in an answer of two parts."""

from __future__ import annotations

from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.explainers import highlighted, invented, output
from neuron_signatures.explain.explainers.answers import FIRES_ON, SAYS
from neuron_signatures.explain.explainers.budget import Groups, TooLittle, fitted
from neuron_signatures.explain.explainers.layout import Instructions
from neuron_signatures.explain.prompt import Prompt
from neuron_signatures.llm.fencing import heading


def build(evidence: NeuronEvidence) -> Prompt | TooLittle:
    if evidence.writes is None or not evidence.writes.promotes:
        return TooLittle(output.NO_WRITES)
    settings = evidence.settings
    said = output.sections(evidence.writes, evidence.changes, evidence.steered, settings.n_written)
    return fitted(INSTRUCTIONS, [evidence.strongest[: settings.n_windows]], lambda kept: sections(kept, said), settings)


def sections(groups: Groups, said: list[str]) -> list[str]:
    return [heading("input"), *highlighted.sections(groups), heading("output"), *said]


INSTRUCTIONS = Instructions(
    "both-1",
    f"You study one neuron of a language model: what it is active on, and what it makes the model say then. You are "
    f"given, below “input”, {highlighted.SHOWN} You are given, below “output”, {output.SHOWN}\n\n"
    f"Answer with two lines and nothing else, each with one short phrase of at most 20 words:\n{FIRES_ON}: ...\n"
    f"{SAYS}: ...\nName what the tokens or texts have in common. Give no list of words, no quotation and no comment.",
    (
        (
            sections(
                [invented.REPAIR_TEXTS],
                output.sections(invented.BOAT_WRITES, invented.BOAT_CHANGES, (), 10),
            ),
            f"{FIRES_ON}: {invented.REPAIRS}\n{SAYS}: {invented.BOATS}",
        ),
    ),
    question="What is the neuron active on, and what does it make the model say? Answer with the two lines.",
    max_tokens=160,
)
