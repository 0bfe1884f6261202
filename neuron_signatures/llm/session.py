"""Asking a model in the name of a stage: what was answered before is not paid again, and limits hold.

A request goes through the run's journal, the user's cache, the limits, and only then to the model. The raw response is
in the journal before anything else is done with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from neuron_signatures.llm.accounts import ANSWERED, count, known_cost, unknown_cost
from neuron_signatures.llm.budget import Budget, Limits
from neuron_signatures.llm.cache import AnswerCache
from neuron_signatures.llm.chat import Answer, ChatClient, ChatRequest
from neuron_signatures.llm.errors import StopAsking
from neuron_signatures.llm.forecast import most_prompt_tokens
from neuron_signatures.llm.keys import key_of_fields, request_fields
from neuron_signatures.llm.prices import Prices
from neuron_signatures.llm.wire.reply import Reply
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.llm.journal import Journal, Received
from neuron_signatures.runs.llm.ledger import Account, Ledger, read_ledger, write_ledger
from neuron_signatures.runs.llm.names import RequestFiles

log = logging.getLogger(__name__)

LEDGER_SECONDS: Final = 30.0
"""How often the ledger is written; the journal is written at once."""


class Watch(Protocol):
    """Who follows the HTTP requests of one chat request."""

    async def before_send(self) -> None:
        """Called before each HTTP request. Raises `StopAsking` if a limit would be passed."""

    def received(self, reply: Reply) -> None:
        """Called with each raw response before it is parsed, and with each failed attempt."""

    def parsed(self, reply: Reply, answer: Answer) -> None:
        """Called next, with what the response says."""


@runtime_checkable
class RawClient(Protocol):
    """A client of a server, which hands over raw responses."""

    model: str

    @property
    def base_url(self) -> str: ...

    async def send(self, request: ChatRequest, watch: Watch | None) -> Answer: ...

    def parse(self, reply: Reply) -> Answer: ...

    def halt(self, stop: StopAsking) -> None: ...


@dataclass
class Totals:
    """What this process asked. `cost` is in US dollars, None if a price is not known."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    from_journal: int = 0
    from_cache: int = 0


class Session:
    """Requests of one stage to one client, for one run. The caller holds the lock of the run or shard."""

    def __init__(
        self,
        client: ChatClient,
        files: RequestFiles,
        cache: AnswerCache | None,
        limits: Limits,
        prices: Prices | None,
        stage: str,
    ) -> None:
        """Opens nothing yet. Raises `UsageError` for a limit on cost without a price."""
        self.client, self.stage = client, stage
        self.totals = Totals()
        self._raw = client if isinstance(client, RawClient) else None
        self._base_url = self._raw.base_url if self._raw is not None else ""
        self._prices = prices
        self._price = prices.of(client.model) if prices is not None and self._raw is not None else None
        if limits.max_cost is not None and self._raw is not None and self._price is None:
            what = f"no price of {client.model} at {self._base_url} is known"
            raise UsageError(what, where="--max_cost", next_step="Give the prices with --price_file FILE")
        self._files, self._limits = files, limits
        self._cache = cache if self._raw is not None else None
        self._journal = Journal(files)
        self._ledger: Ledger | None = None
        self._budget = Budget(limits, requests=0, cost=0.0)
        self._pending: dict[str, asyncio.Future[Answer]] = {}
        self._stop: StopAsking | None = None
        self._failures = 0
        self._ledger_written = time.monotonic()

    @property
    def account(self) -> Account:
        """What this stage sent and paid for this run in all, by this process and earlier ones."""
        return self._open_ledger().account(self.stage)

    async def ask(self, request: ChatRequest, *, skip: int = 0) -> Answer:
        """The answer: from the journal, the cache or the model.

        `skip` is how many answers of this request were used before and are not wanted again, for `--retry_failed`: the
        first ones in the journal are passed over, and the cache is not read. Only answers of a model count, not errors.
        Raises `StopAsking` when a limit would be passed or the server can answer nothing more, and from then on always.
        """
        self._raise_if_stopped()
        self._open_ledger()
        fields = request_fields(request, base_url=self._base_url, model=self.client.model)
        key = key_of_fields(fields)
        while (pending := self._pending.get(key)) is not None:
            await asyncio.wait([pending])
            self._raise_if_stopped()
            if not pending.cancelled():
                self.totals.from_journal += 1
                return replace(pending.result(), cost=0.0, source="journal")
        with self._announced(key) as pending:
            answer = self._stored(key, fields, skip) or await self._send(request, key, fields)
            pending.set_result(answer)
        return answer

    def close(self) -> None:
        """Sync the journal and write the ledger. The client stays open."""
        self._journal.close()
        if self._ledger is not None:
            self._write_ledger()

    @contextlib.contextmanager
    def _announced(self, key: str) -> Iterator[asyncio.Future[Answer]]:
        """The request of this key is under way: another one with the same key waits for its answer."""
        pending: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._pending[key] = pending
        try:
            yield pending
        finally:
            del self._pending[key]
            if not pending.done():
                pending.cancel()

    def _stored(self, key: str, fields: dict[str, Any], skip: int) -> Answer | None:
        """The answer that was paid before."""
        answers = (self._answer_of(received) for received in self._journal.answered(key))
        wanted = [answer for answer in answers if answer is not None and answer.status in ANSWERED][skip:]
        if wanted:
            self.totals.from_journal += 1
            return self._known(replace(wanted[0], cost=0.0, source="journal"))
        body = self._cache.get(key) if self._cache is not None and not skip else None
        if body is None or self._raw is None:
            return None
        answer = self._raw.parse(Reply(200, body, 0.0))
        if answer.status != "ok":
            log.warning("cache entry %s.json is ignored: it holds no answer", key)
            return None
        self.totals.from_cache += 1
        return self._known(replace(answer, cost=0.0, source="cache"))

    async def _send(self, request: ChatRequest, key: str, fields: dict[str, Any]) -> Answer:
        watched = _Watched(self, request, key, fields)
        try:
            if self._raw is not None:
                answer = await self._raw.send(request, watched)
            else:
                answer = await watched.ask_local()
        except StopAsking as e:
            self._halt(e)
            raise
        finally:
            watched.abandon()
        self._count_failures(answer)
        return replace(answer, cost=known_cost(answer, self._price) if self._raw is not None else 0.0)

    def _count_failures(self, answer: Answer) -> None:
        self._failures = 0 if answer.status in ANSWERED else self._failures + 1
        if self._limits.max_failures is not None and self._failures >= self._limits.max_failures:
            what = f"{self._failures} requests in a row failed, the last one with: {answer.reason}"
            self._halt(StopAsking(what, next_step="Run again when the server works; what is answered is kept"))

    def _halt(self, stop: StopAsking) -> None:
        """From now on every `ask` raises `stop`, also those that wait."""
        self._stop = self._stop or stop
        if self._raw is not None:
            self._raw.halt(self._stop)

    def _raise_if_stopped(self) -> None:
        if self._stop is not None:
            raise self._stop

    def _open_ledger(self) -> Ledger:
        """The ledger, with what the journal has beyond it."""
        if self._ledger is None:
            ledger = read_ledger(self._files)
            ledger.journal_bytes = min(ledger.journal_bytes, self._journal.size)
            for end, received in self._journal.since(ledger.journal_bytes):
                answer = self._answer_of(received) or Answer("api_error")
                price = self._prices.of(received.model) if self._prices is not None else None
                count(ledger.account(received.stage), received, answer, price, is_free=received.answer is not None)
                ledger.journal_bytes = end
            self._ledger = ledger
            account = ledger.account(self.stage)
            self._budget = Budget(self._limits, requests=account.requests, cost=account.most_cost)
        return self._ledger

    def _write_ledger(self) -> None:
        ledger = self._open_ledger()
        ledger.journal_bytes = self._journal.size
        write_ledger(self._files, ledger)
        self._ledger_written = time.monotonic()

    def _answer_of(self, received: Received) -> Answer | None:
        """The answer in a line of the journal; None if this client cannot read it."""
        if received.answer is not None:
            with contextlib.suppress(ValidationError):
                return _answer_type().validate_json(json.dumps(received.answer))
            return None
        if self._raw is None:
            return None
        lost: Any = received.lost if received.lost in ("", "timed_out", "too_large") else "no_connection"
        return self._raw.parse(Reply(received.http_status, received.body, received.seconds, lost))

    def _known(self, answer: Answer) -> Answer:
        """The answer, after a warning if another model gave it than before."""
        self._tell_other_model(self.account.note_model(self.client.model, answer.model), answer)
        return answer

    def _tell_other_model(self, is_other: bool, answer: Answer) -> None:
        if is_other:
            before = ", ".join(self.account.answered_by[self.client.model][:-1][-3:])
            log.warning("%s is answered by %s now; before, by %s", self.client.model, answer.model, before)

    # Called by `_Watched`, for each HTTP request.

    def _record(self, received: Received) -> None:
        self._journal.append(received)

    def _account_for(self, received: Received, answer: Answer) -> float:
        """Count a response; returns what it cost at most."""
        is_free = self._raw is None
        self._tell_other_model(count(self.account, received, answer, self._price, is_free=is_free), answer)
        cost = 0.0 if is_free else known_cost(answer, self._price)
        self.totals.requests += 1
        self.totals.prompt_tokens += answer.prompt_tokens or 0
        self.totals.completion_tokens += answer.completion_tokens or 0
        if not is_free and self._price is None:
            self.totals.cost = None
        elif self.totals.cost is not None:
            self.totals.cost += cost or 0.0
        if time.monotonic() - self._ledger_written > LEDGER_SECONDS:
            self._write_ledger()
        return cost if cost is not None else unknown_cost(received, answer, self._price)

    def _store(self, fields: dict[str, Any], reply: Reply) -> None:
        if self._cache is not None:
            self._cache.put(fields, reply.body, reply.seconds)


class _Watched:
    """One chat request on its way."""

    def __init__(self, session: Session, request: ChatRequest, key: str, fields: dict[str, Any]) -> None:
        self._session, self._request, self._key, self._fields = session, request, key, fields
        self._most_tokens = (most_prompt_tokens(request.messages), request.max_tokens)
        self._most = session._price.cost(*self._most_tokens) if session._price is not None else 0.0
        self._received: Received | None = None
        self._is_open = False

    async def before_send(self) -> None:
        self._session._raise_if_stopped()
        await self._session._budget.reserve(self._most)
        if self._session._stop is not None:
            self._session._budget.release(self._most)
            raise self._session._stop
        self._is_open = True

    def received(self, reply: Reply) -> None:
        self._received = self._line(
            reply.seconds, answered=reply.http_status == 200, http_status=reply.http_status, lost=reply.lost,
            body=reply.body,
        )  # fmt: skip
        self._session._record(self._received)

    def parsed(self, reply: Reply, answer: Answer) -> None:
        self._settle(answer)
        if answer.status == "ok":
            self._session._store(self._fields, reply)

    async def ask_local(self) -> Answer:
        """Ask a model in this process, whose answer is stored instead of a raw response."""
        await self.before_send()
        answer = await self._session.client.chat(self._request)
        fields = {f.name: getattr(answer, f.name) for f in dataclasses.fields(answer)}
        self._received = self._line(answer.seconds, answered=answer.status in ANSWERED, answer=fields)
        self._session._record(self._received)
        self._settle(answer)
        return answer

    def abandon(self) -> None:
        """If the request was cancelled while it was open: it may have been answered and charged."""
        if self._is_open:
            self._received = self._line(0.0, answered=False, lost="cancelled")
            self._session._record(self._received)
            self._settle(Answer("api_error"))

    def _line(self, seconds: float, *, answered: bool, **fields: Any) -> Received:
        return Received(
            key=self._key, answered=answered, stage=self._session.stage, model=self._session.client.model,
            at_utc=datetime.now(UTC).isoformat(timespec="milliseconds"), seconds=round(seconds, 6),
            most_tokens=self._most_tokens, **fields,
        )  # fmt: skip

    def _settle(self, answer: Answer) -> None:
        assert self._received is not None
        self._is_open = False
        self._session._budget.settle(self._most, self._session._account_for(self._received, answer))


@functools.cache
def _answer_type() -> TypeAdapter[Answer]:
    return TypeAdapter(Answer)
