"""`token_lookup`: the tokens with the highest mean activation, without their texts."""

from __future__ import annotations

from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.explainers import invented
from neuron_signatures.explain.explainers.budget import TooLittle, fitted
from neuron_signatures.explain.explainers.layout import PHRASE, Instructions, token_table
from neuron_signatures.explain.prompt import Prompt

LEAST = 3
"""Tokens that a table needs."""


def build(evidence: NeuronEvidence) -> Prompt | TooLittle:
    """`evidence` of the prompt is empty: the table is made of all sampled windows of `explain`."""
    settings, table = evidence.settings, evidence.tokens
    if len(table.rows) < LEAST:
        what = f"with a positive mean occur {settings.min_count} times in the sample"
        return TooLittle(f"{len(table.rows)} tokens {what}, {LEAST} are needed")
    lines = list(token_table(table, settings.n_tokens))
    return fitted(INSTRUCTIONS, [], lambda _: lines, settings)


INSTRUCTIONS = Instructions(
    "token_lookup-1",
    "You study one neuron of a language model. You are given the tokens on which the neuron is most active on average "
    "in a collection of texts; you do not see the texts. Each line has a token in quotation marks (a space within "
    "them is part of it), a tab, its mean activation (10 is that of the first one), a tab, and how often it occurs: "
    "means of rare tokens are uncertain. The last line is the mean over all tokens. Find out what the neuron is active "
    f"on.\n\n{PHRASE}",
    ((list(token_table(invented.WEIGHT_TABLE, 6)), invented.WEIGHTS),),
)
