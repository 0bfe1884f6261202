"""Requests of one item: asked together, read strictly, and counted by what became of each."""

from __future__ import annotations

import asyncio
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
        sent = (self._session.ask(r, skip=int(first + i in self._again)) for i, r in enumerate(requests))
        answers = await asyncio.gather(*sent, return_exceptions=True)
        found = []
        for i, answer in enumerate(answers):
            if isinstance(answer, BaseException):
                raise answer
            found.append(_reply(answer, functools.partial(_read_number, read, i)))
        self.all += found
        return found

    def scored(self, measures: Mapping[str, Measured], examples: Sequence[Mapping[str, Any]]) -> Scored:
        answers = [reply.answer for reply in self.all]
        costs = [answer.cost for answer in answers]
        return Scored(
            measures,
            statuses=[reply.status for reply in self.all],
            reason=next((reply.reason for reply in self.all if reply.status != "ok"), ""),
            examples=examples,
            prompt_tokens=sum(a.prompt_tokens or 0 for a in answers),
            completion_tokens=sum(a.completion_tokens or 0 for a in answers),
            cost=None if None in costs else sum((cost or 0.0 for cost in costs), 0.0),
            answered_by=next((a.model for a in answers if a.model is not None), None),
            seconds=time.monotonic() - self._start,
        )


def shown(text: str) -> str:
    """Text of a model as it is stored: raw and bounded."""
    return encodable(text)[:MAX_SHOWN]


def _read_number(read: Callable[[str, int], Value], number: int, text: str) -> Value:
    return read(text, number)


def _reply(answer: Answer, read: Callable[[str], Value]) -> Reply[Value]:
    if answer.status != "ok":
        return Reply(answer.status, answer.reason, None, answer)
    if is_refusal(answer.text):
        return Reply("refused", "the answer is a refusal", None, answer)
    try:
        return Reply("ok", "", read(answer.text), answer)
    except NotJson as e:
        return Reply("unparsable", str(e), None, answer)
