"""File names in `explanations/`, the explainers, and the kinds of entries in a log."""

from __future__ import annotations

from typing import Literal

from neuron_signatures.runs.logs.names import LogKind

EXPLANATIONS = "explanations"
"""The stage folder."""
SET_RULE = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What the name of a set is, and so the stem of its files."""
HUMAN_SET = "human"
"""The set of what people write about neurons that have no explanation."""

Explainer = Literal[
    "token_activation_pairs", "token_lookup", "contrastive", "intervals", "highlighted", "output", "both", "lookup"
]
EXPLAINERS: tuple[Explainer, ...] = (
    "token_activation_pairs", "token_lookup", "contrastive", "intervals", "highlighted", "output", "both", "lookup",
)  # fmt: skip

Kind = Literal["explanation", "choice", "vote", "lock", "note"]


SETS = LogKind(
    folder=EXPLANATIONS,
    rule=SET_RULE,
    reserved=("_meta", "_settings", "_source"),
    noun="sets",
    again="Copy the run again, or repeat the command that made the set",
    max_line=1 << 20,  # the longest entry is the rule of a look-up with 1000 n-grams
    max_log=2 << 30,
)


def source_name(set_name: str) -> str:
    """What the file of an imported set says beside the texts, such as scores: one line per explanation."""
    return f"{set_name}_source.jsonl"
