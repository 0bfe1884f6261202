"""Asking a model in the name of a stage: what was answered before is not paid again, and limits hold.

A request goes through the run's journal, the user's cache and the limits, and only then to the model. The raw response
is in the journal before anything else is done with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from neuron_signatures.llm.asking.accounts import ANSWERED, known_cost
from neuron_signatures.llm.asking.books import Books, Totals
from neuron_signatures.llm.asking.keys import key_of_fields, request_fields
from neuron_signatures.llm.asking.raw_client import RawClient, origin_of
from neuron_signatures.llm.asking.stored import find_stored
from neuron_signatures.llm.asking.watched import Watched
from neuron_signatures.llm.budget import Budget, Limits
from neuron_signatures.llm.cache import AnswerCache
from neuron_signatures.llm.chat import Answer, ChatClient, ChatRequest
from neuron_signatures.llm.errors import StopAsking
from neuron_signatures.llm.forecast import most_prompt_tokens
from neuron_signatures.llm.prices import Prices
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.llm.journal import Journal
from neuron_signatures.runs.llm.ledger import Account
from neuron_signatures.runs.llm.names import RequestFiles


class _Opened(NamedTuple):
    books: Books
    budget: Budget


class Session:
    """Requests of one stage to one client, for one run. The caller holds the lock of the run or shard.

    The files are opened by the first request: a stage that has nothing to ask reads neither journal nor ledger.
    """

    def __init__(
        self,
        client: ChatClient,
        files: RequestFiles,
        cache: AnswerCache | None,
        limits: Limits,
        prices: Prices | None,
        stage: str,
    ) -> None:
        """Raises `UsageError` for a limit on the cost without a price. The cache is for servers only."""
        self.client, self.stage = client, stage
        self.totals = Totals()
        self._raw = client if isinstance(client, RawClient) else None
        self._prices = prices
        self._price = prices.of(client.model) if prices is not None and self._raw is not None else None
        if limits.max_cost is not None and self._raw is not None and self._price is None:
            what = f"no price of {client.model} at {self._raw.base_url} is known"
            raise UsageError(what, where="--max_cost", next_step="Give the prices with --price_file FILE")
        self._files, self._limits = files, limits
        self._cache = cache if self._raw is not None else None
        self._journal = Journal(files)
        self._opened: _Opened | None = None
        self._origin = origin_of(client)
        self._pending: dict[str, asyncio.Future[Answer]] = {}
        self._stop: StopAsking | None = None
        self._failures = 0

    @property
    def account(self) -> Account:
        """What this stage sent and paid for this run in all, by this process and earlier ones."""
        return self._open().books.account

    async def ask(self, request: ChatRequest, *, skip: int = 0) -> Answer:
        """The answer: from the journal, the cache or the model.

        `skip` is how many answers of this request were used before and are not wanted again, for `--retry_failed`: the
        first ones in the journal are passed over, and the cache is not read. Only answers of a model count, not errors.
        Raises `StopAsking` when a limit would be passed or the server can answer nothing more, and from then on always.
        """
        self._check()
        books = self._open().books
        fields = request_fields(request, base_url=self._origin, model=self.client.model)
        key = key_of_fields(fields)
        while (pending := self._pending.get(key)) is not None:
            await asyncio.wait([pending])
            self._check()
            if not pending.cancelled():
                answer = replace(pending.result(), cost=0.0, source="journal")
                books.count_stored(answer)
                return answer
        with self._announced(key) as pending:
            found = find_stored(self.client, self._journal, self._cache, key, skip)
            if found is not None:
                books.count_stored(found)
            answer = found or await self._send(request, key, fields)
            pending.set_result(answer)
        return answer

    def close(self) -> None:
        """Sync the journal and write the ledger. The client stays open."""
        if self._opened is not None:
            self._opened.books.write()
        self._journal.close()

    async def _send(self, request: ChatRequest, key: str, fields: dict[str, Any]) -> Answer:
        watched = self._watched(request, key, fields)
        try:
            answer = await (watched.ask_here(request) if self._raw is None else self._raw.send(request, watched))
        except StopAsking as e:
            self._halt(e)
            raise
        finally:
            watched.end()
        self._count_failures(answer)
        return replace(answer, cost=0.0 if self._raw is None else known_cost(answer, self._price))

    def _watched(self, request: ChatRequest, key: str, fields: dict[str, Any]) -> Watched:
        most = (most_prompt_tokens(request.messages), request.max_tokens)
        most_cost = 0.0 if self._price is None else self._price.cost(*most)
        books, budget = self._open()
        return Watched(
            self.client, self.stage, self._journal, self._cache, budget, books, self._check, key, fields, most,
            most_cost,
        )  # fmt: skip

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

    def _check(self) -> None:
        if self._stop is not None:
            raise self._stop

    def _open(self) -> _Opened:
        if self._opened is None:
            books = Books(
                self.client, self._files, self._journal, self._prices, self._price, self.stage, self.totals
            )  # fmt: skip
            spent = books.account
            self._opened = _Opened(books, Budget(self._limits, requests=spent.requests, cost=spent.most_cost))
        return self._opened
