"""Random requests get an answer 2xx, 4xx or 429, never a defect; random bytes on a socket too."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from paths import DEMO_RUN
from score_runs import make_scored_run
from server_apps import demo_held, listening, logged
from server_fuzz import Requests, Sent

from neuron_signatures.api.problem import Problem
from neuron_signatures.server.app import make_app
from neuron_signatures.server.settings import Settings

SEED = 20


async def ask(app: FastAPI, sent: Sent) -> tuple[int, dict[str, str], bytes]:
    """The answer of the app, as uvicorn would ask it. An exception of the app is raised here."""
    path, _, query = sent.target.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
        "method": sent.method, "path": unquote(path), "raw_path": path.encode(), "query_string": query.encode(),
        "headers": sent.headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8600), "state": {},
    }  # fmt: skip
    incoming = [{"type": "http.request", "body": sent.body, "more_body": False}]
    status, headers, body = 0, {}, b""
    ended = asyncio.Event()

    async def receive():
        if incoming:
            return incoming.pop()
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        nonlocal status, headers, body
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in message["headers"]}
        body += message.get("body", b"")

    try:
        await app(scope, receive, send)
    finally:
        ended.set()
    return status, headers, body


def check(number: int, sent: Sent, status: int, headers: dict[str, str], body: bytes) -> None:
    asked = f"{sent.method} {sent.target[:300]} {sent.headers} {sent.body[:500]!r}"
    told = f"request {number}: {asked} -> {status} {body[:300]!r}"
    assert status < 500, told
    assert headers["x-content-type-options"] == "nosniff", told
    assert b"Traceback" not in body and b'File "' not in body, told
    if status >= 400 and sent.method != "HEAD":
        assert headers["content-type"] == "application/problem+json", told
        problem = Problem.model_validate(json.loads(body))
        assert problem.status == status and problem.title and len(problem.detail) <= 400, told
        assert problem.detail.isprintable() and problem.next_step.isprintable(), told


async def fuzz(app: FastAPI, n: int, seed: int) -> dict[int, int]:
    """How often each status was answered."""
    counts: dict[int, int] = {}
    requests = Requests(app.openapi(), seed)
    async with app.router.lifespan_context(app):
        for number in range(n):
            sent = requests.request(number)
            if sent.method == "DELETE" and sent.target.startswith("/v1/model"):
                continue  # it would be right, and leave no model for the rest
            answer = await ask(app, sent)
            check(number, sent, *answer)
            counts[answer[0]] = counts.get(answer[0], 0) + 1
    return counts


@pytest.fixture
def app(tmp_path) -> Iterator[FastAPI]:
    shutil.copytree(DEMO_RUN, tmp_path / "demo")
    make_scored_run(tmp_path / "scored")
    before = contents(tmp_path)
    held = demo_held(tmp_path)
    yield make_app(Settings(runs_root=tmp_path, timeout=600.0, max_body=60_000), held)
    assert contents(tmp_path) == before, "the server wrote into a run"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_random_requests(app):
    counts = asyncio.run(fuzz(app, 400, SEED))
    assert {200, 400, 404, 405, 422} <= set(counts), counts
    assert counts[200] > 50, counts


@pytest.mark.fuzz
def test_many_random_requests(app):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    counts = asyncio.run(fuzz(app, 5000, seed))
    print(counts)
    assert counts[200] > 100 and counts[422] > 500


def test_random_bytes_on_a_socket():
    send_bytes(60, SEED)


@pytest.mark.fuzz
def test_many_random_bytes_on_a_socket():
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    send_bytes(3000, seed)


VALID = b"POST /v1/model HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
HOSTILE = (
    b"", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
    b"GET /v1/health HTTP/1.0\r\n\r\n", b"GET /v1/health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://evil/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /" + b"a" * 100_000,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    b"POST /v1/model HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/model HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    VALID.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked").replace(b"{}", b"zz\r\n"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n",
)  # fmt: skip


def send_bytes(n: int, seed: int) -> None:
    rng = random.Random(seed)
    with logged("uvicorn.error", "asyncio") as records, listening(max_body=60_000) as server:
        for number in range(n):
            raw = HOSTILE[number] if number < len(HOSTILE) else damaged(rng)
            with server.connect() as connection:
                connection.sendall(raw)
                connection.shutdown(1)
                answer = b""
                try:
                    while part := connection.recv(65536):
                        answer += part
                except ConnectionError:
                    pass
            head = answer.split(b"\r\n")[0]
            assert not answer or head.startswith((b"HTTP/1.1 4", b"HTTP/1.1 2", b"HTTP/1.1 100")), (
                number,
                raw[:300],
                answer[:300],
            )
            assert b"Traceback" not in answer, (number, raw[:300])
        connection_close = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert server.send(connection_close).startswith(b"HTTP/1.1 200")
    assert not [r for r in records if r.exc_info or r.levelname == "ERROR"]


def damaged(rng: random.Random) -> bytes:
    """A valid request with some bytes changed, or two of them."""
    raw = bytearray(VALID if rng.random() < 0.8 else VALID * 2)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(raw))
        raw[at : at + rng.randint(0, 3)] = rng.choice(
            (b"", b"\r\n", b"\x00", b"\xff", b":", b" ", bytes([rng.randrange(256)]))
        )
    return bytes(raw)
