"""`highlighted`: texts with the strongest tokens between marks, each with a list of these tokens and values.

After Paulo et al., Automatically Interpreting Millions of Features (arXiv 2410.13928).
"""

from __future__ import annotations

from neuron_signatures.explain.evidence.excerpts import largest_of
from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.explainers import invented
from neuron_signatures.explain.explainers.budget import Groups, TooLittle, fitted
from neuron_signatures.explain.explainers.layout import PHRASE, Instructions, listed
from neuron_signatures.explain.prompt import Prompt

SHOWN = (
    "excerpts of texts that the model read. The tokens at which the neuron is most active are between « "
    "and »; the line below an excerpt lists them with their activation, of which 10 is the largest that was found. An "
    "activation depends on the token and on the tokens before it, never on later ones."
)


def build(evidence: NeuronEvidence) -> Prompt | TooLittle:
    return fitted(INSTRUCTIONS, [evidence.strongest[: evidence.settings.n_windows]], sections, evidence.settings)


def sections(groups: Groups) -> list[str]:
    return list(listed(groups[0], largest_of(groups[0])))


INSTRUCTIONS = Instructions(
    "highlighted-1",
    f"You study one neuron of a language model. You are given {SHOWN} Find out what the neuron is active on."
    f"\n\n{PHRASE}",
    (
        (sections([invented.WEIGHT_TEXTS]), invented.WEIGHTS),
        (sections([invented.BAN_TEXTS]), invented.BANS),
    ),
)
