"""How many tokens a request takes, before it is sent: an estimate, because the server's tokenizer is not known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from neuron_signatures.llm.chat import ChatRequest, Message
from neuron_signatures.llm.prices import Price

BYTES_PER_TOKEN: Final = 4
"""Of English text under the common byte-level tokenizers."""
_TOKENS_PER_MESSAGE: Final = 8
"""Role and delimiters, generously."""


class Forecast(NamedTuple):
    """Of several requests. `completion_tokens` and `cost` assume that every answer takes its limit of tokens."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    """US dollars; None if no price is known."""


def prompt_tokens(messages: Sequence[Message]) -> int:
    """The estimated number of tokens of a prompt."""
    return sum(_n_bytes(m) // BYTES_PER_TOKEN + _TOKENS_PER_MESSAGE for m in messages)


def most_prompt_tokens(messages: Sequence[Message]) -> int:
    """A number of tokens that a prompt does not exceed: a token of a byte-level tokenizer has at least a byte."""
    return sum(_n_bytes(m) + _TOKENS_PER_MESSAGE for m in messages)


def most_cost(request: ChatRequest, price: Price) -> float:
    """US dollars that the request does not exceed."""
    return price.cost(most_prompt_tokens(request.messages), request.max_tokens)


def forecast(requests: Iterable[ChatRequest], price: Price | None) -> Forecast:
    n = prompt = completion = 0
    for request in requests:
        n += 1
        prompt += prompt_tokens(request.messages)
        completion += request.max_tokens
    return Forecast(n, prompt, completion, None if price is None else price.cost(prompt, completion))


def _n_bytes(message: Message) -> int:
    return len(message.content.encode("utf-8", "surrogatepass"))  # a token can hold half a surrogate pair
