"""`intervals`: a mix of 49 windows over the whole range of the activation.

After Bricken et al., Towards Monosemanticity (2023): ten from the top, two from each of twelve intervals of the
activation, five random ones, and ten with the top tokens in other contexts.
"""

from __future__ import annotations

from dataclasses import replace

from neuron_signatures.explain.evidence.excerpts import largest_of
from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.explainers import invented
from neuron_signatures.explain.explainers.budget import Groups, TooLittle, fitted
from neuron_signatures.explain.explainers.layout import Instructions, numbered
from neuron_signatures.explain.prompt import Prompt
from neuron_signatures.llm.fencing import heading

N_TOP, N_INTERVALS, PER_INTERVAL, N_RANDOM, N_ELSEWHERE = 10, 12, 2, 5, 10
BEFORE, AFTER = 10, 4
"""Tokens around the peak, at most: 49 windows have less room each."""
HEADINGS = ("strongest", "from strong to weak", "at random", "tokens of the strongest in other contexts")


def build(evidence: NeuronEvidence) -> Prompt | TooLittle:
    """`n_windows` of the settings is not used: the mix is part of the definition."""
    settings = evidence.settings
    short = evidence.with_settings(
        replace(settings, before=min(settings.before, BEFORE), after=min(settings.after, AFTER))
    )
    top = short.strongest[:N_TOP]
    steps = short.intervals(n_intervals=N_INTERVALS, per_interval=PER_INTERVAL, shown=top)
    random = short.random(N_RANDOM, shown=[*top, *steps])
    elsewhere = short.out_of_context(N_ELSEWHERE, shown=[*top, *steps, *random])
    return fitted(INSTRUCTIONS, [top, steps, random, elsewhere], sections, settings)


def sections(groups: Groups) -> list[str]:
    largest = largest_of(e for group in groups for e in group)
    lines = []
    for name, group in zip(HEADINGS, groups, strict=True):
        ordered = sorted(group, key=lambda e: -e.largest) if name == HEADINGS[1] else group
        if ordered:
            lines += [heading(name), *numbered(ordered, largest)]
    return lines


INSTRUCTIONS = Instructions(
    "intervals-1",
    "You study one neuron of a language model. You are given excerpts of texts that the model read: those in which the "
    "neuron is strongest, some from strong to weak activation, some at random, and some with the tokens of the "
    "strongest in other contexts. The most active tokens of an excerpt are between « and », followed by their "
    "activation in brackets, from 1 to 10 (the largest that was found). An activation depends on the token and on the "
    "tokens before it, never on later ones. Find out what the neuron is active on, with particular attention to the "
    "strongest activations, and check it against the other excerpts.\n\n"
    "Answer with one phrase that completes the sentence “The neuron is active on ...”. Be succinct: at most 20 words. "
    "Describe the rule and name no examples, neither words nor excerpts. Give no comment.",
    (
        (sections([invented.WEIGHT_TEXTS, invented.WEIGHT_MIDDLING, invented.NOT_BANS[1:2], invented.NOT_WEIGHTS]),
         invented.WEIGHTS),
        (sections([invented.BAN_TEXTS, invented.BAN_MIDDLING, invented.NOT_WEIGHTS[1:2], invented.NOT_BANS]),
         invented.BANS),
    ),
)  # fmt: skip
