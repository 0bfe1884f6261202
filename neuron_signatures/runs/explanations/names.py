"""File names in `explanations/`, the explainers, and the kinds of entries in a log."""

from __future__ import annotations

import re
from typing import Literal

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


def is_set_name(name: str) -> bool:
    return re.fullmatch(SET_RULE, name) is not None and not name.endswith(("_meta", "_settings", "_source"))


def log_name(set_name: str) -> str:
    """The log, to which lines are only appended."""
    return f"{set_name}.jsonl"


def settings_name(set_name: str) -> str:
    """The settings that a continued set must share, written before the first line of the log."""
    return f"{set_name}_settings.json"


def meta_name(set_name: str) -> str:
    """The stage record, written last."""
    return f"{set_name}_meta.json"


def source_name(set_name: str) -> str:
    """What the file of an imported set says beside the texts, such as scores: one line per explanation."""
    return f"{set_name}_source.jsonl"
