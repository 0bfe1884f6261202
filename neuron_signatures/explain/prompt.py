"""A prompt for a language model, with what it was made of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from neuron_signatures.llm.chat import Message

_PIECES = re.compile(r"[A-Za-z]{1,7}|[0-9]|[\t\n]|[^\sA-Za-z0-9]")
_PER_MESSAGE = 4


@dataclass(frozen=True)
class Prompt:
    """What a model is asked about one pole of a neuron."""

    messages: tuple[Message, ...]
    version: str
    """Of the instructions and the layout, such as `contrastive-1`."""
    evidence: tuple[int, ...]
    """Numbers of the windows that it shows, in the order of the prompt; those that had no place are not among them."""
    max_tokens: int
    """Of the answer."""
    n_dropped: int = 0
    """Pieces of evidence that would have exceeded the limit of tokens."""

    @property
    def sha256(self) -> str:
        """Of the exact messages."""
        return hashlib.sha256(json.dumps([list(m) for m in self.messages]).encode()).hexdigest()


def estimated_tokens(messages: Sequence[Message]) -> int:
    """About how many tokens the messages are; no tokenizer is needed.

    Counts short pieces of words, digits and signs, three tokens for a character outside ASCII, and four for the
    template around each message. It is meant to be too high rather than too low (docs/explain.md has the ratio).
    """
    n = 0
    for message in messages:
        text = message.content
        others = len(text) - len(text.encode("ascii", "ignore"))
        n += _PER_MESSAGE + len(_PIECES.findall(text)) + 2 * others
    return n
