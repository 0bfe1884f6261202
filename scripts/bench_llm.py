"""Speed of requests to a language model's server: a session (journal, ledger, limits, cache), and the simulator json on
top of it, against the bare library.

The server answers at once, in another process, so what is measured is the work of the client. Both sides have the same
number of requests open. The bar is on the request rate: ours divided by that of `AsyncOpenAI.chat.completions.create`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np
import openai
from bench_common import Bar, alternate, run_benches, spread

from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.cache import AnswerCache
from neuron_signatures.llm.chat import ChatRequest, Message
from neuron_signatures.llm.choose import LlmSpec, open_client
from neuron_signatures.llm.prices import Prices
from neuron_signatures.llm.session import Session
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.simulators.json_answers import JsonSimulator
from neuron_signatures.scoring.simulators.json_prompt import simulation_answer, simulation_messages
from neuron_signatures.scoring.texts import Text
from neuron_signatures.scoring.tools import Tools

CONCURRENCY = (1, 8, 32)
BAR = 0.9
MODEL = "gpt-bench"
TOKENS = tuple(f" word{i % 40}" for i in range(64))  # of a window
ANSWER = simulation_answer(TOKENS, [i % 7 for i in range(len(TOKENS))])
_PROMPT = "token\t3\n" * 400  # the length of a usual prompt: 3,200 characters
_TEXT = "words about the weather in cities by the sea"
_LIMITS = Limits(max_cost=1e6, max_requests=10**9)
_PRICES = Prices.model_validate({"date": "", "source": "", "models": {MODEL: {"input": 1.0, "output": 1.0}}})
_numbers = itertools.count()  # every request is another one


def bench_sessions(quick: bool, *, cached: bool = False) -> list[Bar]:
    """The rate of a session against the bare library, at several concurrencies."""
    n, rounds = (200, 5) if quick else (600, 9)
    bars = []
    with _server() as base_url, tempfile.TemporaryDirectory() as tmp:
        for concurrency in CONCURRENCY:
            actions = {
                "session": lambda c=concurrency: asyncio.run(_session(base_url, Path(tmp), n, c, cached=cached)),
                "bare": lambda c=concurrency: asyncio.run(_bare(base_url, n, c)),
            }
            name = f"session{' with cache' if cached else ''} / bare, {concurrency} open"
            bars.append(_bar(name, actions, n, rounds))
    return bars


def bench_cache(quick: bool) -> list[Bar]:
    """The same with the cache on; every answer is stored in it."""
    return bench_sessions(quick, cached=True)


def bench_simulator(quick: bool) -> list[Bar]:
    """The rate of the simulator json against the bare library, whose answers are read as JSON."""
    n, rounds = (200, 5) if quick else (600, 9)
    bars = []
    with _server(ANSWER) as base_url, tempfile.TemporaryDirectory() as tmp:
        for concurrency in CONCURRENCY:
            actions = {
                "simulator": lambda c=concurrency: asyncio.run(_simulator(base_url, Path(tmp), n, c)),
                "bare": lambda c=concurrency: asyncio.run(_bare_json(base_url, n, c)),
            }
            bars.append(_bar(f"simulator json / bare, {concurrency} open", actions, n, rounds))
    return bars


def _bar(name: str, actions: Mapping[str, Callable[[], object]], n: int, rounds: int) -> Bar:
    """The ratio of the rates of the first action and of the other one, each of `n` requests."""
    times = alternate(actions, rounds)
    ours, bare = times.values()
    ratios = [b / o for o, b in zip(ours, bare, strict=True)]
    ratio = statistics.median(ratios)
    rates = " and ".join(f"{action} {n / statistics.median(t):.0f}/s" for action, t in times.items())
    return Bar(name, ratio, f">= {BAR}", ratio >= BAR, f"{rates}; {spread(ratios)}")


async def _bare_json(base_url: str, n: int, concurrency: int) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:

        async def one(text: str) -> None:
            messages = [{"role": m.role, "content": m.content} for m in simulation_messages(text, TOKENS)]
            found = await client.chat.completions.create(
                model=MODEL, messages=messages, max_tokens=2000, temperature=0.0, seed=0  # type: ignore[arg-type]
            )  # fmt: skip
            assert len(json.loads(found.choices[0].message.content or "")) == len(TOKENS)

        await _all(one, n, concurrency)


async def _simulator(base_url: str, folder: Path, n: int, concurrency: int) -> None:
    client = open_client(LlmSpec("openai", MODEL, base_url=base_url, concurrency=concurrency))
    session = Session(client, RequestFiles(Path(tempfile.mkdtemp(dir=folder))), None, _LIMITS, _PRICES, "score")
    nothing = cast(Any, None)  # the simulator asks, and reads neither run nor records
    simulator = JsonSimulator(Tools(nothing, nothing, Design(), session))
    zeros = np.zeros(len(TOKENS), np.float32)
    window = Text(0, 0, TOKENS, zeros, np.ones(len(TOKENS), bool))

    async def one(text: str) -> None:
        (found,), _ = await simulator.simulate_windows(Said(text), [window])
        assert found.status == "ok"

    await _all(one, n, concurrency)
    session.close()
    await client.close()


async def _bare(base_url: str, n: int, concurrency: int) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:

        async def one(text: str) -> None:
            found = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": text}], max_tokens=60, temperature=0.0, seed=0
            )
            assert found.choices[0].message.content == _TEXT

        await _all(one, n, concurrency)


async def _session(base_url: str, folder: Path, n: int, concurrency: int, *, cached: bool) -> None:
    client = open_client(LlmSpec("openai", MODEL, base_url=base_url, concurrency=concurrency))
    cache = AnswerCache(folder / "cache") if cached else None
    files = RequestFiles(Path(tempfile.mkdtemp(dir=folder)))
    session = Session(client, files, cache, _LIMITS, _PRICES, "explain")

    async def one(text: str) -> None:
        found = await session.ask(ChatRequest((Message("user", text),), 60, 0.0, 0))
        assert found.text == _TEXT

    await _all(one, n, concurrency)
    session.close()
    await client.close()


async def _all(one: Callable[[str], object], n: int, concurrency: int) -> None:
    """`n` requests, `concurrency` of them at the same time."""
    texts = iter([f"{next(_numbers)} {_PROMPT}" for _ in range(n)])

    async def worker() -> None:
        for text in texts:
            await one(text)  # type: ignore[misc]

    await asyncio.gather(*(worker() for _ in range(concurrency)))


@contextmanager
def _server(text: str = _TEXT) -> Iterator[str]:
    """The address of a server in another process, which always answers `text`."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, text), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def _serve(port: Connection, text: str) -> None:
    asyncio.run(_serve_forever(port, _response(text)))


async def _serve_forever(port: Connection, response: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Completions(response), "127.0.0.1", 0)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _response(text: str) -> bytes:
    body = json.dumps({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": MODEL,
        "system_fingerprint": "fp_1", "usage": {"prompt_tokens": 900, "completion_tokens": 10, "total_tokens": 910},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
    }).encode()  # fmt: skip
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class _Completions(asyncio.Protocol):
    """Answers every request with the same completion, as soon as its body is complete."""

    def __init__(self, response: bytes) -> None:
        self._answer = response

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._read = transport, bytearray()

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._read[:end]).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._read) < end + 4 + length:
                return
            del self._read[: end + 4 + length]
            self._transport.write(self._answer)


if __name__ == "__main__":
    os.environ["NO_PROXY"] = "127.0.0.1"
    sys.exit(run_benches(__doc__, {"sessions": bench_sessions, "cache": bench_cache, "simulator": bench_simulator}))
