"""How many tokens a request takes, before it is sent: an estimate, because the server's tokenizer is not known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from neuron_signatures.llm.chat import Message

BYTES_PER_TOKEN: Final = 4
"""Of English text under the common byte-level tokenizers."""
_TOKENS_PER_MESSAGE: Final = 8
"""Role and delimiters, generously."""


def prompt_tokens(messages: Sequence[Message]) -> int:
    """The estimated number of tokens of a prompt."""
    return sum(_n_bytes(m) // BYTES_PER_TOKEN + _TOKENS_PER_MESSAGE for m in messages)


def most_prompt_tokens(messages: Sequence[Message]) -> int:
    """A number of tokens that a prompt does not exceed: a token of a byte-level tokenizer has at least a byte."""
    return sum(_n_bytes(m) + _TOKENS_PER_MESSAGE for m in messages)


def _n_bytes(message: Message) -> int:
    return len(message.content.encode("utf-8", "surrogatepass"))  # a token can hold half a surrogate pair
