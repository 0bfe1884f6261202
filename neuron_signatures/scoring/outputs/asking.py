"""Requests of one item: asked together, read strictly, and counted by what became of each."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from neuron_signatures.llm.chat import Answer, ChatRequest
from neuron_signatures.llm.json_text import NotJson
from neuron_signatures.llm.refusals import is_refusal
from neuron_signatures.llm.session import Session
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.scoring.asking import Failed, all_of, ask_and_read, usage_of
from neuron_signatures.scoring.scorer import Item, Measured, Scored

Value = TypeVar("Value")

MAX_SHOWN = 300
"""Characters of a sentence or continuation that are stored."""


@dataclass(frozen=True)
class Reply(Generic[Value]):
    """What became of a request. `value` is None unless the status is ok."""

    status: Status
    reason: str
    value: Value | None
    answer: Answer


class Replies:
    """Counts the requests of one item in the order in which they are asked."""

    def __init__(self, session: Session | None, item: Item) -> None:
        assert session is not None, "this scorer asks a language model"
        self._session, self._again = session, item.again
        self._start = time.monotonic()
        self.all: list[Reply[Any]] = []

    async def ask(self, requests: Sequence[ChatRequest], read: Callable[[str, int], Value]) -> list[Reply[Value]]:
        """One reply per request. `read` is given the answer and the number of the request among `requests`; it raises
        `NotJson` for an answer that is not what was asked for.

        Raises `StopAsking` when all other requests have ended, so that paid answers are in the journal.
        """
        first = len(self.all)
        found = await all_of(
            ask_and_read(self._session, r, functools.partial(_found, read, i), again=first + i in self._again)
            for i, r in enumerate(requests)
        )
        replies = [_reply(one.found, one.answer) for one in found]
        self.all += replies
        return replies

    def scored(self, measures: Mapping[str, Measured], examples: Sequence[Mapping[str, Any]]) -> Scored:
        used = usage_of([reply.answer for reply in self.all])
        return Scored(
            measures,
            statuses=[reply.status for reply in self.all],
            reason=next((reply.reason for reply in self.all if reply.status != "ok"), ""),
            examples=examples,
            prompt_tokens=used.prompt_tokens,
            completion_tokens=used.completion_tokens,
            cost=used.cost,
            answered_by=used.answered_by,
            seconds=time.monotonic() - self._start,
        )


def shown(text: str) -> str:
    """Text of a model as it is stored: raw and bounded."""
    return encodable(text)[:MAX_SHOWN]


@dataclass(frozen=True)
class _Read(Generic[Value]):
    value: Value


def _found(read: Callable[[str, int], Value], number: int, answer: Answer) -> _Read[Value] | Failed:
    if answer.status != "ok":
        return Failed(answer.status, answer.reason)
    if is_refusal(answer.text):
        return Failed("refused", "the answer is a refusal")
    try:
        return _Read(read(answer.text, number))
    except NotJson as e:
        return Failed("unparsable", str(e))


def _reply(found: _Read[Value] | Failed, answer: Answer) -> Reply[Value]:
    if isinstance(found, Failed):
        return Reply(found.status, found.reason, None, answer)
    return Reply("ok", "", found.value, answer)
