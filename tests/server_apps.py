"""The server in the test's process.

with served(runs_root=tmp_path) as client:                      # no socket, no model
with served(held=demo_held(tmp_path), runs_root=...) as client:
    client.post("/v1/next_token", json={"text": "x"})
with listening(held) as server:                                 # uvicorn on a socket, in a thread
    httpx.get(f"{server.url}/v1/health")
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from neuron_signatures.models.load import load_model
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.server.app import make_app
from neuron_signatures.server.held import Held, Stop
from neuron_signatures.server.holder import model_facts
from neuron_signatures.server.listening import Server
from neuron_signatures.server.service import Service, ServiceDep
from neuron_signatures.server.settings import Settings
from neuron_signatures.server.sockets import bind, port_of


@contextlib.contextmanager
def served(held: Held | None = None, **settings: Any) -> Iterator[TestClient]:
    """A client of an app with these settings. An unexpected exception is an answer 500, as over a socket."""
    app = make_app(Settings(**settings), held)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


class Running(NamedTuple):
    """A server that listens on 127.0.0.1."""

    port: int
    app: FastAPI

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def service(self) -> Service:
        service: Service = self.app.state.service
        return service

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def send(self, raw: bytes) -> bytes:
        """The answer to raw bytes, up to the end of the connection."""
        with self.connect() as connection:
            connection.sendall(raw)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes the connection, or cuts it."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            answer += part
    return answer


@contextlib.contextmanager
def listening(held: Held | None = None, **settings: Any) -> Iterator[Running]:
    """uvicorn with the app on a free port of 127.0.0.1, in a thread."""
    with bind("127.0.0.1", 0) as bound:
        port = port_of(bound)
        app = make_app(Settings(port=port, **settings), held)
        started = threading.Event()
        server = Server(app, app.state.service, started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        assert started.wait(60)
        try:
            yield Running(port, app)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


def demo_held(runs_root: Path | None = None, *, max_tokens: int = 256) -> Held:
    """The demo model in float32 on the CPU."""
    model = load_model(ModelSpec("demo", dtype="fp32", device="cpu"))
    return Held(model, model_facts(model), runs_root, max_tokens)


def add_job(app: FastAPI, path: str, work: Callable[[Held, Stop], Any]) -> None:
    """A POST whose answer is the work's."""

    async def route(request: Request, service: ServiceDep) -> Any:
        return await service.run(work, request)

    app.post(path)(route)


def add_reading(app: FastAPI, path: str, work: Callable[[Stop], Any]) -> None:
    """A GET whose answer is the work's, which needs no model."""

    async def route(request: Request, service: ServiceDep) -> Any:
        return await service.read(work, request)

    app.get(path)(route)


@contextlib.contextmanager
def logged(*names: str) -> Iterator[list[logging.LogRecord]]:
    """The records of these loggers in the block, also of those that do not propagate."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    for name in names:
        logging.getLogger(name).addHandler(handler)
    try:
        yield records
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)
