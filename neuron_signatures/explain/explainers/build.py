"""Prompts by name of the explainer. Each module defines one prompt; `answers` reads what comes back."""

from __future__ import annotations

from collections.abc import Callable

from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.evidence.settings import EvidenceSettings
from neuron_signatures.explain.explainers import (
    both,
    contrastive,
    highlighted,
    intervals,
    output,
    token_activation_pairs,
    token_lookup,
)
from neuron_signatures.explain.explainers.answers import UnparsableAnswer, read_answer
from neuron_signatures.explain.explainers.budget import TooLittle
from neuron_signatures.explain.explainers.layout import Instructions
from neuron_signatures.explain.modes import Mode
from neuron_signatures.explain.prompt import Prompt
from neuron_signatures.llm.refusals import is_refusal
from neuron_signatures.runs.explanations.names import Explainer

__all__ = [
    "EvidenceSettings", "NeuronEvidence", "Prompt", "TooLittle", "UnparsableAnswer", "build_prompt", "instructions",
    "is_refusal", "needs_writes", "prompt_version", "read_answer", "shows_texts",
]  # fmt: skip

_BUILDERS: dict[Explainer, Callable[[NeuronEvidence], Prompt | TooLittle]] = {
    "token_activation_pairs": token_activation_pairs.build,
    "token_lookup": token_lookup.build,
    "contrastive": contrastive.build,
    "intervals": intervals.build,
    "highlighted": highlighted.build,
    "output": output.build,
    "both": both.build,
}
_INSTRUCTIONS: dict[Explainer, Instructions] = {
    "token_activation_pairs": token_activation_pairs.INSTRUCTIONS,
    "token_lookup": token_lookup.INSTRUCTIONS,
    "contrastive": contrastive.INSTRUCTIONS,
    "intervals": intervals.INSTRUCTIONS,
    "highlighted": highlighted.INSTRUCTIONS,
    "output": output.INSTRUCTIONS,
    "both": both.INSTRUCTIONS,
}
_WITHOUT_TEXTS: tuple[Explainer, ...] = ("token_lookup", "output")
_WITH_WRITES: tuple[Explainer, ...] = ("output", "both")


def build_prompt(explainer: Explainer, evidence: NeuronEvidence, *, mode: Mode | None = None) -> Prompt | TooLittle:
    """The prompt of an explainer that asks a language model, about all strongest windows or those of one mode.

    `TooLittle` says why there is none. A mode has no effect on explainers that show no texts (`shows_texts`).
    """
    if mode is not None:
        evidence = evidence.within(mode.windows)
    if shows_texts(explainer) and not evidence.strongest:
        return TooLittle("no positive activation of this pole in the documents of the part explain")
    return _BUILDERS[explainer](evidence)


def shows_texts(explainer: Explainer) -> bool:
    """Whether the prompt shows the strongest windows, so that each of their modes can have an explanation."""
    return explainer not in _WITHOUT_TEXTS


def needs_writes(explainer: Explainer) -> bool:
    """Whether there is a prompt only for neurons with write scores (stage 2)."""
    return explainer in _WITH_WRITES


def instructions(explainer: Explainer) -> Instructions:
    """What the prompts of an explainer share."""
    return _INSTRUCTIONS[explainer]


def prompt_version(explainer: Explainer) -> str:
    """Such as `contrastive-1`."""
    return _INSTRUCTIONS[explainer].version
