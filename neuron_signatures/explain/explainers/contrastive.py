"""`contrastive`: the strongest windows and silent ones that look like them; asked what tells them apart."""

from __future__ import annotations

from neuron_signatures.explain.evidence.excerpts import largest_of
from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.explainers import invented
from neuron_signatures.explain.explainers.budget import Groups, TooLittle, fitted
from neuron_signatures.explain.explainers.layout import PHRASE, Instructions, marked, pointed
from neuron_signatures.explain.prompt import Prompt
from neuron_signatures.llm.fencing import heading


def build(evidence: NeuronEvidence) -> Prompt | TooLittle:
    n = evidence.settings.n_windows
    silent = evidence.silent(n)
    if not silent:
        return TooLittle("no silent window of the sample looks like an active one")
    return fitted(INSTRUCTIONS, [evidence.strongest[:n], silent], sections, evidence.settings)


def sections(groups: Groups) -> list[str]:
    active, silent = groups
    tempting = {e.tokens[e.pos] for e in active}
    return [
        heading("active"), *marked(active, largest_of(active)), heading("silent"), *pointed(silent, tempting),
    ]  # fmt: skip


INSTRUCTIONS = Instructions(
    "contrastive-1",
    "You study one neuron of a language model. You are given two lists of excerpts of texts that the model read. In "
    "those of the list “active” the neuron is strongly active at the tokens between « and ». In those of the list "
    "“silent” it is not active, although they look alike: where a token is between « and », it is one on which the "
    "neuron is active elsewhere. An activation depends on the token and on the tokens before it, never on later ones. "
    f"Find out what sets the active excerpts apart from the silent ones.\n\n{PHRASE}",
    (
        (sections([invented.WEIGHT_TEXTS, invented.NOT_WEIGHTS]), invented.WEIGHTS),
        (sections([invented.BAN_TEXTS, invented.NOT_BANS]), invented.BANS),
    ),
)
