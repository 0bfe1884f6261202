"""The HTTP API on a port of loopback, in a thread of the test's process.

with ServedApi(runs_root=folder, held=held) as server:
    ... server.url
    server.restart()          # on the same port; open connections are lost
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from processes import free_port, wait_until

from neuron_signatures.server.app import make_app
from neuron_signatures.server.held import Held
from neuron_signatures.server.settings import Settings


class ServedApi:
    """An app with these settings."""

    def __init__(self, held: Held | None = None, *, runs_root: Path | None = None, **settings: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._held = held
        self._settings = Settings(runs_root=runs_root, port=self.port, **settings)

    def __enter__(self) -> ServedApi:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        app = make_app(self._settings, self._held)
        config = uvicorn.Config(app, host="127.0.0.1", port=self.port, log_config=None, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started, 30, "the server listens")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    def restart(self) -> None:
        self.stop()
        self.start()
