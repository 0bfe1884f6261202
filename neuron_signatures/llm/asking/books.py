"""The books of a session: the ledger of the run, and the totals of this process."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Final

from neuron_signatures.llm.asking.accounts import count, known_cost, unknown_cost
from neuron_signatures.llm.asking.raw_client import RawClient
from neuron_signatures.llm.asking.stored import answer_of
from neuron_signatures.llm.chat import Answer, ChatClient
from neuron_signatures.llm.prices import Price, Prices
from neuron_signatures.runs.llm.journal import KILLED, SENT, Journal, Received
from neuron_signatures.runs.llm.ledger import Account, Ledger, read_ledger, write_ledger
from neuron_signatures.runs.llm.names import RequestFiles

log = logging.getLogger(__name__)

LEDGER_SECONDS: Final = 30.0
"""How often the ledger is written. What a killed process did not write is counted again from the journal."""


@dataclass
class Totals:
    """What this process asked. `cost` is in US dollars, None if a price is not known."""

    requests: int = 0
    """HTTP requests, with those that failed and were repeated."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    from_journal: int = 0
    from_cache: int = 0


class Books:
    """Counts responses. Opens the ledger, and counts what the journal has beyond it."""

    def __init__(
        self,
        client: ChatClient,
        files: RequestFiles,
        journal: Journal,
        prices: Prices | None,
        price: Price | None,
        stage: str,
        totals: Totals,
    ) -> None:
        self._client, self._files, self._journal, self._price = client, files, journal, price
        self._totals = totals
        self._is_free = not isinstance(client, RawClient)
        self._ledger = _read(client, files, journal, prices)
        self.account: Account = self._ledger.account(stage)
        """What the stage sent and paid for this run in all."""
        self._open: dict[str, Received] = {}
        self._written = time.monotonic()

    def sent(self, request: Received) -> None:
        """Note a request before it is sent, so that it counts even if this process is killed."""
        self._journal.append(request)
        self._open[request.key] = request

    def count(self, received: Received, answer: Answer) -> float:
        """Count a response; returns what it cost at most."""
        self._open.pop(received.key, None)
        is_other = count(self.account, received, answer, self._price, is_free=self._is_free)
        self._tell_other_model(is_other, answer)
        totals = self._totals
        totals.requests += 1
        totals.prompt_tokens += answer.prompt_tokens or 0
        totals.completion_tokens += answer.completion_tokens or 0
        cost = 0.0 if self._is_free else known_cost(answer, self._price)
        if not self._is_free and self._price is None:
            totals.cost = None
        elif totals.cost is not None:
            totals.cost += cost or 0.0
        if time.monotonic() - self._written > LEDGER_SECONDS:
            self.write()
        return unknown_cost(received, answer, self._price) if cost is None else cost

    def count_stored(self, answer: Answer) -> None:
        """Count an answer that was paid before."""
        if answer.source == "journal":
            self._totals.from_journal += 1
        else:
            self._totals.from_cache += 1
        self._tell_other_model(self.account.note_model(self._client.model, answer.model), answer)

    def write(self) -> None:
        self._ledger.journal_bytes = self._journal.size
        for request in self._open.values():  # again, behind what the ledger has counted
            self._journal.append(request)
        write_ledger(self._files, self._ledger)
        self._written = time.monotonic()

    def _tell_other_model(self, is_other: bool, answer: Answer) -> None:
        if is_other:
            before = ", ".join(self.account.answered_by[self._client.model][:-1][-3:])
            log.warning("%s is answered by %s now; before, by %s", self._client.model, answer.model, before)


def _read(client: ChatClient, files: RequestFiles, journal: Journal, prices: Prices | None) -> Ledger:
    ledger = read_ledger(files)
    ledger.journal_bytes = min(ledger.journal_bytes, journal.size)
    sent: dict[str, Received] = {}
    for end, received in journal.since(ledger.journal_bytes):
        ledger.journal_bytes = end
        if received.lost == SENT:
            sent[received.key] = received
            continue
        sent.pop(received.key, None)
        _count_old(ledger, received, client, prices)
    for request in sent.values():
        killed = request.model_copy(update={"lost": KILLED})
        journal.append(killed)
        _count_old(ledger, killed, client, prices)
    if sent:
        ledger.journal_bytes = journal.size
    return ledger


def _count_old(ledger: Ledger, received: Received, client: ChatClient, prices: Prices | None) -> None:
    """Count a line of an earlier process."""
    answer = answer_of(received, client) or Answer("api_error")
    price = None if prices is None else prices.of(received.model)
    count(ledger.account(received.stage), received, answer, price, is_free=received.answer is not None)
