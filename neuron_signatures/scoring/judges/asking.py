"""Asks a judge about windows in requests of a few, and counts what the requests took."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from neuron_signatures.llm.chat import Answer, ChatRequest
from neuron_signatures.llm.session import Session
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.scoring.judges.answers import UnparsableVerdicts, read_verdicts
from neuron_signatures.scoring.simulators.base import Usage

_NAME, _REASON = 200, 500
"""Characters of names and reasons that are stored."""


@dataclass(frozen=True)
class Verdicts:
    """The answer to one request; `values` is None unless the status is ok."""

    values: Sequence[bool] | None
    status: Status = "ok"
    reason: str = ""


async def ask_all(
    session: Session, requests: Sequence[ChatRequest], sizes: Sequence[int], *, again: frozenset[int]
) -> tuple[list[Verdicts], Usage]:
    """The answers, of `sizes` values each. `again` are the requests whose first answer is not wanted again.

    Raises `StopAsking` if a limit is reached, when the other requests have ended.
    """
    asked = [session.ask(request, skip=int(i in again)) for i, request in enumerate(requests)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    answers = []
    for answer in found:
        if isinstance(answer, BaseException):
            raise answer
        answers.append(answer)
    return [_verdicts(answer, n) for answer, n in zip(answers, sizes, strict=True)], _usage(answers)


def _verdicts(answer: Answer, n: int) -> Verdicts:
    if answer.status != "ok":
        return Verdicts(None, answer.status, answer.reason[:_REASON])
    try:
        return Verdicts(read_verdicts(answer.text, n))
    except UnparsableVerdicts as e:
        return Verdicts(None, "unparsable", str(e))


def _usage(answers: Sequence[Answer]) -> Usage:
    """The cost is None if that of an answer is unknown."""
    costs = [answer.cost for answer in answers if answer.cost is not None]
    model = next((answer.model for answer in answers if answer.model), None)
    return Usage(
        sum(answer.prompt_tokens or 0 for answer in answers),
        sum(answer.completion_tokens or 0 for answer in answers),
        sum(costs) if len(costs) == len(answers) else None,
        None if model is None else model[:_NAME],
    )
