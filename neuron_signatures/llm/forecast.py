"""How many tokens a request takes, before it is sent: an estimate, because the server's tokenizer is not known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from neuron_signatures.llm.chat import Message

_PIECES: Final = re.compile(r"[A-Za-z]{1,7}|[0-9]|[\t\n]|[^\sA-Za-z0-9]")
_PER_MESSAGE: Final = 4
_MOST_PER_MESSAGE: Final = 8
"""Role and delimiters, generously."""


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


def most_prompt_tokens(messages: Sequence[Message]) -> int:
    """A number of tokens that a prompt does not exceed: a token of a byte-level tokenizer has at least a byte."""
    return sum(_n_bytes(m) + _MOST_PER_MESSAGE for m in messages)


def _n_bytes(message: Message) -> int:
    return len(message.content.encode("utf-8", "surrogatepass"))  # a token can hold half a surrogate pair
