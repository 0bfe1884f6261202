"""Sessions with a loopback server, with waits of milliseconds. The key is `CANARY`, which may appear nowhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.cache import AnswerCache
from neuron_signatures.llm.chat import Answer, ChatRequest, Message
from neuron_signatures.llm.endpoint import open_endpoint
from neuron_signatures.llm.errors import StopAsking
from neuron_signatures.llm.openai_client import OpenAIClient
from neuron_signatures.llm.prices import Prices
from neuron_signatures.llm.session import Session
from neuron_signatures.llm.wire.pace import Pace
from neuron_signatures.llm.wire.reply import Reply
from neuron_signatures.llm.wire.retries import RetryPolicy
from neuron_signatures.llm.wire.secret import Secret
from neuron_signatures.runs.llm.journal import KILLED, SENT
from neuron_signatures.runs.llm.ledger import Ledger, read_ledger
from neuron_signatures.runs.llm.names import RequestFiles

CANARY = "sk-canary-5f1d0c9a7e3b48d2/x"
MODEL = "gpt-test"
STAGE = "explain"


@dataclass
class Waits:
    """Instead of sleeping, records for how long."""

    seconds: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def prompts(n: int, *, word: str = "prompt") -> list[ChatRequest]:
    return [asked(f"{word} {i}") for i in range(n)]


def asked(text: str, *, seed: int = 0, max_tokens: int = 50, top_logprobs: int | None = None) -> ChatRequest:
    return ChatRequest((Message("system", "Explain."), Message("user", text)), max_tokens, 0.0, seed, top_logprobs)


def client_of(
    base_url: str,
    *,
    waits: Waits | None = None,
    concurrency: int = 4,
    timeout: float = 5.0,
    pace: Pace | None = None,
    key: str = CANARY,
    cap: float = 60.0,
) -> OpenAIClient:
    return OpenAIClient(
        MODEL, open_endpoint(base_url), Secret(key), concurrency=concurrency, timeout=timeout,
        retries=RetryPolicy(retry_after_cap=cap), pace=pace, sleep=waits or Waits(),
    )  # fmt: skip


@dataclass
class Outcome:
    """What a session answered; `stopped` is the error that ended it."""

    answers: list[Answer | StopAsking]
    session: Session

    @property
    def stopped(self) -> StopAsking | None:
        return next((a for a in self.answers if isinstance(a, StopAsking)), None)

    @property
    def statuses(self) -> list[str]:
        return ["stopped" if isinstance(a, StopAsking) else a.status for a in self.answers]

    @property
    def answer(self) -> Answer:
        (one,) = self.answers
        assert isinstance(one, Answer)
        return one


def ask(
    client: OpenAIClient,
    requests: Sequence[ChatRequest],
    run_dir: Path,
    *,
    cache: AnswerCache | None = None,
    limits: Limits | None = None,
    prices: Prices | None = None,
    skip: int = 0,
) -> Outcome:
    """All answers of one session, asked at once."""

    run_dir.mkdir(exist_ok=True)

    async def go() -> Outcome:
        session = Session(client, RequestFiles(run_dir), cache, limits or Limits(), prices, STAGE)
        try:
            asked = (session.ask(request, skip=skip) for request in requests)
            found = await asyncio.gather(*asked, return_exceptions=True)
            for answer in found:
                if not isinstance(answer, Answer | StopAsking):
                    raise answer
            return Outcome([a for a in found if isinstance(a, Answer | StopAsking)], session)
        finally:
            session.close()
            await client.close()

    return asyncio.run(go())


def ledger_of(run_dir: Path) -> Ledger:
    return read_ledger(RequestFiles(run_dir))


def journal_text(run_dir: Path) -> str:
    return (run_dir / "llm" / "journal.jsonl").read_text()


def responses(run_dir: Path) -> list[str]:
    """The lines of the journal that are responses: without those that say that a request is sent."""
    lines = journal_text(run_dir).splitlines()
    return [line for line in lines if json.loads(line).get("lost") not in (SENT, KILLED)]


def price_list(input: float = 1.0, output: float = 10.0) -> Prices:
    """Dollars per million tokens of the test model."""
    models = {MODEL: {"input": input, "output": output}}
    return Prices.model_validate({"date": "2025-01", "source": "a test", "models": models})


def ask_and_die(base_url: str, run_dir: str) -> int:
    """In a child process: three requests, one after the other. Killed when the third response is in the journal."""
    client, n = client_of(base_url, concurrency=1), 0
    parse = client.parse

    def dying(reply: Reply) -> Answer:
        nonlocal n
        n += 1
        if n == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return parse(reply)

    client.parse = dying  # type: ignore[method-assign]
    ask(client, prompts(3), Path(run_dir), prices=price_list())
    return 0
