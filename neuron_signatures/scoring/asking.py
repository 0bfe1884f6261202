"""Asking a language model on behalf of a scorer: one request whose answer is read strictly, and many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from neuron_signatures.llm.chat import Answer, ChatRequest
from neuron_signatures.llm.session import Session
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.scoring.simulators.base import Usage
from neuron_signatures.scoring.tools import Tools

Found = TypeVar("Found")


@dataclass(frozen=True)
class Failed:
    """Why an answer is not used."""

    status: Status
    reason: str


@dataclass(frozen=True)
class Read(Generic[Found]):
    """An answer, and what was read in it."""

    answer: Answer
    found: Found | Failed


async def ask_and_read(
    session: Session, request: ChatRequest, read: Callable[[Answer], Found | Failed], *, again: bool
) -> Read[Found]:
    """The answer, from the journal or the cache if it is there, as `read` reads it.

    With `again`, stored answers that failed are passed over until one did not, or else the model is asked once. A
    stored answer that did not fail is always used. Raises `StopAsking`.
    """
    skip = 0
    while True:
        answer = await session.ask(request, skip=skip)
        found = read(answer)
        if not again or answer.source == "sent" or not isinstance(found, Failed):
            return Read(answer, found)
        skip += 1


async def all_of(asked: Iterable[Awaitable[Found]]) -> list[Found]:
    """The results of all. The first exception is raised when all have ended, so that paid answers are stored."""
    found = await asyncio.gather(*asked, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return [one for one in found if not isinstance(one, BaseException)]


def usage_of(answers: Sequence[Answer]) -> Usage:
    """What all requests took. The cost is None if a price is not known."""
    costs = [a.cost for a in answers]
    return Usage(
        sum(a.prompt_tokens or 0 for a in answers), sum(a.completion_tokens or 0 for a in answers),
        None if None in costs else sum((c for c in costs if c is not None), 0.0),
        next((a.model for a in answers if a.model is not None), None),
    )  # fmt: skip


def session_of(tools: Tools, name: str) -> Session:
    """Raises `UsageError` without a language model."""
    if tools.session is None or tools.session.client.kind == "none":
        raise UsageError(
            f"the scorer {name} asks a language model", where="--scorers",
            next_step="Name one with --llm openai:MODEL or --llm local:NAME",
        )  # fmt: skip
    return tools.session
