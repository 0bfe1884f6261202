"""`token_activation_pairs`: each token of the strongest windows with its activation from 0 to 10."""

from __future__ import annotations

from neuron_signatures.explain.evidence.excerpts import largest_of
from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.explainers import invented
from neuron_signatures.explain.explainers.budget import Groups, TooLittle, fitted
from neuron_signatures.explain.explainers.layout import PHRASE, Instructions, active_share, pairs
from neuron_signatures.explain.prompt import Prompt
from neuron_signatures.llm.fencing import heading

SPARSE = 0.2
"""Share of tokens with a level above 0 below which these tokens are shown again."""


def build(evidence: NeuronEvidence) -> Prompt | TooLittle:
    return fitted(INSTRUCTIONS, [evidence.strongest[: evidence.settings.n_windows]], sections, evidence.settings)


def sections(groups: Groups) -> list[str]:
    """All tokens with their levels; if few are active, the active ones again. The scale is that of these excerpts."""
    excerpts = groups[0]
    largest = largest_of(excerpts)
    lines = list(pairs(excerpts, largest))
    if active_share(excerpts, largest) < SPARSE:
        lines += [heading("the same without zeros"), *pairs(excerpts, largest, only_active=True)]
    return lines


INSTRUCTIONS = Instructions(
    "token_activation_pairs-1",
    "You study one neuron of a language model. You are given excerpts of texts that the model read, one token per "
    "line: the token, a tab, and the activation of the neuron at this token, from 0 (not active) to 10 (the largest "
    "that was found); - means that it was not measured. An activation depends on the token and on the tokens before "
    f"it, never on later ones. Find out what the neuron is active on.\n\n{PHRASE}",
    (
        (sections([invented.WEIGHT_TEXTS]), invented.WEIGHTS),
        (sections([invented.BAN_TEXTS]), invented.BANS),
    ),
)
