"""The answers of a `FakeClient` over HTTP, for the real client and a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fake_live import FakeClient
from pydantic import BaseModel

from neuron_signatures.api.live import (
    ActivationsRequest,
    GenerateRequest,
    InfluenceRequest,
    InterveneRequest,
    NextTokenRequest,
)

POSTS = {
    "next_token": NextTokenRequest, "activations": ActivationsRequest, "influence": InfluenceRequest,
    "intervene": InterveneRequest, "generate": GenerateRequest,
}  # fmt: skip


@contextmanager
def served_over_http(client: FakeClient) -> Iterator[str]:
    """The address of a server that gives these answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self.path.split("?")[0].split("/")[2:]
            if parts[0] == "runs":
                self._send(client.run(parts[1]))
            else:
                self._send(getattr(client, parts[0])())

        def do_POST(self) -> None:
            method = self.path.rsplit("/", 1)[-1]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(getattr(client, method)(POSTS[method].model_validate_json(body)))

        def _send(self, answer: BaseModel) -> None:
            body = answer.model_dump_json().encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
