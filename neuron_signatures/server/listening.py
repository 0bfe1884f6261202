"""uvicorn on one socket, in one process: no log of requests, a time limit for slow clients, stopped by a signal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from neuron_signatures.server.logs import log_to_stderr
from neuron_signatures.server.service import Service

HEAD_SECONDS: Final = 10.0
"""In which the head of a request must arrive, from the connection or the end of the answer before."""
SEND_SECONDS: Final = 30.0
"""After which a client that takes nothing of its answer is cut off: until then the answer is in memory."""
CONNECTIONS: Final = 512
_HEAD_BYTES: Final = 32_768
_STOP_SECONDS: Final = 3
"""For answers that are being sent when the server stops."""
_SWITCH_SECONDS: Final = 0.0005
"""After which Python lets another thread run. With its default, 0.005, each step of a forward pass waits that long for
a thread that reads a run: the demo model's took 58 ms instead of 25 ms beside two of them."""
_STOP_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def listen(app: FastAPI, bound: socket.socket, *, started: Callable[[], None]) -> bool:
    """Serve `app` until SIGINT, SIGTERM or SIGHUP; calls `started` when it answers. Returns whether all work has ended.

    A second signal ends the process at once with code 128 + its number. Raises the error of the model that the app
    loads first.
    """
    service: Service = app.state.service
    log_to_stderr()
    sys.setswitchinterval(_SWITCH_SECONDS)
    server = Server(app, service, started)
    server.run(sockets=[bound])
    if service.start_failure is not None:
        raise service.start_failure
    return not service.busy


class Server(uvicorn.Server):
    """A server that ends when its first model cannot be loaded. A signal stops it without becoming its exit code."""

    def __init__(self, app: FastAPI, service: Service, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                loop="asyncio",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS,
                h11_max_incomplete_event_size=_HEAD_BYTES,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )
        self._service = service
        self._when_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._when_started()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._service.start_failure is not None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
        before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}  # nohup
        for number in before:
            signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and signal.Signals(sig).name != "SIGHUP":  # which a shell and the system both send
            os._exit(128 + sig)
        self.should_exit = True


class _Protocol(H11Protocol):
    """Closes a connection on which no whole head of a request arrives in time (uvicorn 0.54 waits for ever), whose
    client goes on sending a body after the answer, or does not read the answer."""

    _idle_since: float
    _taken_at: float
    _unsent = 0
    """Bytes that the client had not taken at the last look, and when it took some."""
    _check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_since = self._taken_at = self.loop.time()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._check is not None:
            self._check.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._taken_at = unsent, now
        if now - self._taken_at >= SEND_SECONDS:
            self.transport.abort()  # close() would wait until the client has taken the rest
            return
        if unsent or (self.cycle is not None and not self.cycle.response_complete):
            self._idle_since = now
        if now - self._idle_since >= HEAD_SECONDS:
            self.transport.close()
            return
        self._check = self.loop.call_later(min(1.0, HEAD_SECONDS, SEND_SECONDS), self._look)
