"""The simulator `json`: the activations of a whole window as a JSON list, in one answer of any chat model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

import numpy as np

from neuron_signatures.llm.chat import Answer, ChatRequest, Message
from neuron_signatures.llm.forecast import estimated_tokens
from neuron_signatures.llm.json_text import MAX_ANSWER, NotJson, json_value
from neuron_signatures.scoring.asking import Failed, all_of, ask_and_read, session_of, usage_of
from neuron_signatures.scoring.simulators.base import Said, Simulated, Usage
from neuron_signatures.scoring.simulators.json_prompt import LARGEST, VERSION, simulation_answer, simulation_messages
from neuron_signatures.scoring.texts import Text
from neuron_signatures.scoring.tools import Tools

if TYPE_CHECKING:
    from jaxtyping import Float32

_KEYS: Final = {"token", "activation"}
_MAX_LISTED: Final = 40  # characters of a value in a reason


class JsonSimulator:
    """Whole numbers from 0 to 10, one object per token.

    An answer counts only if its tokens are those of the window, one to one and in order, and every activation is a
    whole number of the scale. Nothing is filled in, cut, rounded or searched for; only a Markdown fence around the JSON
    is taken off.
    """

    name = "json"
    lowest: float | None = 0.0
    highest: float | None = float(LARGEST)
    levels: int | None = LARGEST
    prompt_version: str | None = VERSION

    def __init__(self, tools: Tools) -> None:
        """Raises `UsageError` without a language model."""
        self._session = session_of(tools, self.name)

    async def simulate_windows(
        self, said: Said, texts: Sequence[Text], *, again: frozenset[int] = frozenset()
    ) -> tuple[list[Simulated], Usage]:
        """As `WindowSimulator`: one request per window."""
        requests = self.requests_for(said, texts)
        read = await all_of(
            ask_and_read(self._session, request, partial(_read, tokens=text.tokens), again=i in again)
            for i, (request, text) in enumerate(zip(requests, texts, strict=True))
        )
        found = [
            Simulated(None, r.found.status, r.found.reason) if isinstance(r.found, Failed) else Simulated(r.found)
            for r in read
        ]
        return found, usage_of([r.answer for r in read])

    def requests_for(self, said: Said, texts: Sequence[Text]) -> list[ChatRequest]:
        """The request for each window."""
        return [
            ChatRequest(simulation_messages(said.text, text.tokens), _max_tokens(text.tokens), temperature=0.0, seed=0)
            for text in texts
        ]


def read_activations(text: str, tokens: Sequence[str]) -> Float32[np.ndarray, " pos"] | Failed:
    """The activations in an answer, one per token; `unparsable` if it is not exactly what was asked for."""
    try:
        value = json_value(text, most=MAX_ANSWER + _most_characters(tokens))
    except NotJson as e:
        return _unparsable(str(e))
    if not isinstance(value, list):
        return _unparsable("the answer is not a list")
    if len(value) != len(tokens):
        return _unparsable(f"{len(value)} activations for {len(tokens)} tokens")
    for i, (given, token) in enumerate(zip(value, tokens, strict=True)):
        if not isinstance(given, dict) or set(given) != _KEYS:
            return _unparsable(f"entry {i} is not an object with token and activation")
        if given["token"] != token:
            return _unparsable(f"entry {i} has another token")
        activation = given["activation"]
        if not isinstance(activation, int) or isinstance(activation, bool) or not 0 <= activation <= LARGEST:
            shown = ascii(activation)[:_MAX_LISTED]
            return _unparsable(f"activation {i} is not a whole number from 0 to {LARGEST}: {shown}")
    return np.array([given["activation"] for given in value], np.float32)


def _read(answer: Answer, *, tokens: Sequence[str]) -> Float32[np.ndarray, " pos"] | Failed:
    if answer.status != "ok":
        return Failed(answer.status, answer.reason)
    return read_activations(answer.text, tokens)


def _most_characters(tokens: Sequence[str]) -> int:
    """Of a right answer, with every character an escape."""
    return sum(100 + 12 * len(token) for token in tokens)


def _max_tokens(tokens: Sequence[str]) -> int:
    """Generous for an answer with every token in it."""
    return 50 + sum(map(_most_tokens, tokens))


@lru_cache(maxsize=1 << 16)
def _most_tokens(token: str) -> int:
    """Of the object about one token in an answer, with some room."""
    return 2 * estimated_tokens([Message("assistant", simulation_answer([token], [LARGEST]))])


def _unparsable(reason: str) -> Failed:
    return Failed("unparsable", reason)
