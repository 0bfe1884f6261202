"""Makes a prompt of evidence, and leaves out excerpts until it fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from neuron_signatures.explain.evidence.excerpts import Excerpt
from neuron_signatures.explain.evidence.settings import EvidenceSettings
from neuron_signatures.explain.explainers.layout import Instructions
from neuron_signatures.explain.prompt import Prompt


class TooLittle(NamedTuple):
    """There is no prompt: not enough is known of this pole for this explainer."""

    reason: str


Groups = Sequence[Sequence[Excerpt]]


def fitted(
    instructions: Instructions, groups: Groups, sections: Callable[[Groups], list[str]], settings: EvidenceSettings
) -> Prompt | TooLittle:
    """The prompt with as many excerpts as fit, at least one of each group.

    Each group is in order of importance, and all groups shrink alike: the mix stays about the same.
    """
    ranked = _ranked(groups)

    def made(n: int) -> Prompt:
        kept = [[e for g, e in ranked[:n] if g == i] for i in range(len(groups))]
        shown = tuple(dict.fromkeys(e.window for group in kept for e in group))
        messages = instructions.messages(sections(kept))
        return Prompt(messages, instructions.version, shown, instructions.max_tokens, n_dropped=len(ranked) - n)

    def fits(n: int) -> bool:
        return settings.count_tokens(made(n).messages) <= settings.max_prompt_tokens

    if fits(len(ranked)):
        return made(len(ranked))
    low, high = sum(1 for g in groups if g), len(ranked) - 1
    if high < low or not fits(low):
        return TooLittle(f"the prompt does not fit into {settings.max_prompt_tokens} tokens")
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return made(low)


def _ranked(groups: Groups) -> list[tuple[int, Excerpt]]:
    """All excerpts with their group, the first of each group first, then in proportion to the groups' sizes."""
    ranked = [(i / len(group), g, i) for g, group in enumerate(groups) for i in range(len(group))]
    return [(g, groups[g][i]) for _, g, i in sorted(ranked)]
