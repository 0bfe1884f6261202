"""One chat request on its way: the budget before it, the journal and the books after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from neuron_signatures.llm.asking.accounts import ANSWERED
from neuron_signatures.llm.asking.books import Books
from neuron_signatures.llm.asking.stored import as_json
from neuron_signatures.llm.budget import Budget
from neuron_signatures.llm.cache import AnswerCache
from neuron_signatures.llm.chat import Answer, ChatClient, ChatRequest
from neuron_signatures.llm.wire.reply import Reply
from neuron_signatures.runs.llm.journal import SENT, Journal, Received


@dataclass
class Watched:
    """Follows the HTTP requests of one chat request. `check` raises `StopAsking` if all asking is over."""

    client: ChatClient
    stage: str
    journal: Journal
    cache: AnswerCache | None
    budget: Budget
    books: Books
    check: Callable[[], None]
    key: str
    fields: dict[str, Any]
    most_tokens: tuple[int, int]
    most_cost: float
    _received: Received | None = field(default=None, init=False)
    _is_open: bool = field(default=False, init=False)

    async def before_send(self) -> None:
        """Returns when the HTTP request may be sent, which is then in the journal. Raises `StopAsking`."""
        await self._reserve()
        self.books.sent(self._record(0.0, answered=False, lost=SENT))

    async def _reserve(self) -> None:
        self.check()
        await self.budget.reserve(self.most_cost)
        try:
            self.check()  # it may have waited
        except BaseException:
            self.budget.release(self.most_cost)
            raise
        self._is_open = True

    def received(self, reply: Reply) -> None:
        """The response, before it is parsed."""
        answered = reply.http_status == 200
        self._journal(
            reply.seconds, answered=answered, http_status=reply.http_status, lost=reply.lost, body=reply.body
        )  # fmt: skip

    def parsed(self, reply: Reply, answer: Answer) -> None:
        """The same response, after it."""
        self._settle(answer)
        if answer.status == "ok" and self.cache is not None:
            self.cache.put(self.key, self.fields, reply.body, reply.seconds)

    async def ask_here(self, request: ChatRequest) -> Answer:
        """Ask a model in this process; its answer is stored instead of a raw response."""
        await self._reserve()
        answer = await self.client.chat(request)
        self._journal(answer.seconds, answered=answer.status in ANSWERED, answer=as_json(answer))
        self._settle(answer)
        return answer

    def end(self) -> None:
        """A request that was cancelled while it was open may have been answered and charged."""
        if self._is_open:
            self._journal(0.0, answered=False, lost="cancelled")
            self._settle(Answer("api_error"))

    def _journal(self, seconds: float, **fields: Any) -> None:
        self._received = self._record(seconds, **fields)
        self.journal.append(self._received)

    def _record(self, seconds: float, **fields: Any) -> Received:
        return Received(
            key=self.key, stage=self.stage, model=self.client.model,
            at_utc=datetime.now(UTC).isoformat(timespec="milliseconds"), seconds=round(seconds, 6),
            most_tokens=self.most_tokens, **fields,
        )  # fmt: skip

    def _settle(self, answer: Answer) -> None:
        assert self._received is not None
        self._is_open = False
        self.budget.settle(self.most_cost, self.books.count(self._received, answer))
