"""How much evidence a prompt shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neuron_signatures.llm.chat import Message
from neuron_signatures.llm.forecast import estimated_tokens


@dataclass(frozen=True)
class EvidenceSettings:
    """Settings that all explainers share. Prompts of equal settings and seed are equal."""

    n_windows: int = 10
    """Strongest windows, and silent ones of `contrastive`."""
    seed: int = 0
    max_prompt_tokens: int = 4000
    """Windows that would exceed it are left out, the weakest first."""
    before: int = 20
    after: int = 8
    """Tokens of a window that are shown on either side of its peak."""
    n_tokens: int = 20
    """Tokens of `token_lookup`."""
    n_written: int = 10
    """Promoted and suppressed tokens."""
    min_count: int = 5
    """Occurrences in the sample that a token's mean needs."""
    count_tokens: Callable[[Sequence[Message]], int] = estimated_tokens
    """Of the messages; an estimate, unless a tokenizer is given."""
