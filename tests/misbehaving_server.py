"""A server of language models on loopback that misbehaves as told, and records what it was asked.

    with MisbehavingServer() as server:                                  # plausible answers, at once
    with MisbehavingServer(lambda asked: answer("tokens about rain")):   # a function of the request
    with MisbehavingServer([rate_limited(1), server_error()]):           # the first requests; then plausible answers
    with MisbehavingServer({"Paris": refusal()}):                        # for prompts that contain the word
    ... server.base_url, server.requests[0].prompt

A function may return None for a plausible answer.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

MODEL = "gpt-test"
_CHUNK = 1 << 16
HOSTILE = "\x1b[31mred\x1b[0m [bold]b[/bold] <script>alert(1)</script> \x00 " + "x" * 100_000


class Asked(NamedTuple):
    """One request as it arrived. Header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """All messages, joined by newlines."""
        return "\n".join(str(m.get("content")) for m in self.body.get("messages", []))

    @property
    def key(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass(frozen=True)
class Act:
    """What the server does with one request: wait, send a status with a body, and perhaps cut the connection."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut_after: int | None = None
    """Send only so many bytes of the body, then close the connection."""
    echo: bool = False
    """Put the key of the request into the body at `{key}`."""


Script = Mapping[str, Act] | Sequence[Act] | Callable[[Asked], Act | None] | None


def completion(
    text: str | None = "words about a theme", *, finish: str = "stop", model: str = MODEL, **message: Any
) -> dict[str, Any]:
    """The JSON of a chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "system_fingerprint": "fp_test",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


def send_json(value: object, status: int = 200, **headers: str) -> Act:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Act(json.dumps(value).encode(), status, {"Content-Type": "application/json", **named})


def answer(text: str | None = "words about a theme", **kwargs: Any) -> Act:
    """A completion; keyword arguments as of `completion`."""
    return send_json(completion(text, **kwargs))


def with_logprobs(tokens: Sequence[Mapping[str, float]]) -> Act:
    """A completion with the candidates of each token."""
    value = completion("".join(max(t, key=lambda k: t[k]) for t in tokens))
    content = [{"token": max(t, key=lambda k: t[k]), "logprob": max(t.values()),
                "top_logprobs": [{"token": k, "logprob": v} for k, v in t.items()]} for t in tokens]  # fmt: skip
    value["choices"][0]["logprobs"] = {"content": content}
    return send_json(value)


def error(status: int, message: str = "it went wrong", code: str | None = None, **headers: str) -> Act:
    return send_json({"error": {"message": message, "type": "error", "code": code}}, status, **headers)


def rate_limited(seconds: float | str | None = None) -> Act:
    """429, with `Retry-After` if given."""
    headers = {} if seconds is None else {"Retry_After": str(seconds)}
    return error(429, "Rate limit reached", "rate_limit_exceeded", **headers)


def no_quota() -> Act:
    return error(429, "You exceeded your current quota", "insufficient_quota")


def server_error() -> Act:
    return error(500, "The server had an error")


def bad_gateway() -> Act:
    return Act(b"<html><body>502 Bad Gateway</body></html>", 502, {"Content-Type": "text/html"})


def web_page() -> Act:
    return Act(b"<!doctype html><html><body>Sign in</body></html>", 200, {"Content-Type": "text/html"})


def error_with_200() -> Act:
    return send_json({"error": {"message": "upstream failed", "code": 502}})


def no_choices() -> Act:
    return send_json({**completion(), "choices": []})


def half_json() -> Act:
    """Complete by its Content-Length, but cut JSON."""
    raw = json.dumps(completion()).encode()
    return Act(raw[: len(raw) // 2], 200, {"Content-Type": "application/json"})


def cut() -> Act:
    """The connection ends in the middle of the body."""
    return Act(json.dumps(completion()).encode(), cut_after=40)


def hang() -> Act:
    """No answer until the server closes."""
    return Act(delay=float("inf"))


def huge(n_bytes: int = 20_000_000) -> Act:
    return send_json(completion("x" * n_bytes))


def refusal() -> Act:
    return answer(None, refusal="I cannot help with that.")


def redirect(to: str) -> Act:
    return Act(b"", 307, {"Location": to})


def echo_key(status: int) -> Act:
    """The key of the request, in an error or (200) in the text of the answer."""
    text = "Incorrect API key provided: {key}"
    value = completion(text) if status == 200 else {"error": {"message": text, "code": "invalid_api_key"}}
    return Act(json.dumps(value).encode(), status, {"Content-Type": "application/json"}, echo=True)


def hostile() -> Act:
    return answer(HOSTILE)


class MisbehavingServer:
    """Serves `POST <base_url>/chat/completions` on a free port of 127.0.0.1 until the end of the block."""

    def __init__(self, script: Script = None) -> None:
        self.script = script
        self.requests: list[Asked] = []
        """In the order of arrival."""
        self.most_open = 0
        """The largest number of requests that were open at the same time."""
        self.sent_bytes = 0
        """Of bodies, as far as clients took them."""
        self._open = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> MisbehavingServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def prompts(self) -> list[str]:
        return [asked.prompt for asked in self.requests]

    def act(self, asked: Asked) -> Act:
        """Record the request; returns what to do."""
        with self._lock:
            n = len(self.requests)
            self.requests.append(asked)
            self._open += 1
            self.most_open = max(self.most_open, self._open)
        return self._chosen(asked, n) or answer()

    def done(self) -> None:
        with self._lock:
            self._open -= 1

    def wait(self, seconds: float) -> bool:
        """Returns whether the time is over, rather than the server closed."""
        end = time.monotonic() + seconds
        return not self._closing.wait(None if seconds == float("inf") else max(0.0, end - time.monotonic()))

    def _chosen(self, asked: Asked, n: int) -> Act | None:
        if self.script is None:
            return None
        if callable(self.script):
            return self.script(asked)
        if isinstance(self.script, Mapping):
            return next((act for word, act in self.script.items() if word in asked.prompt), None)
        return self.script[n] if n < len(self.script) else None


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: MisbehavingServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that went away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.path, headers, json.loads(raw or b"{}"))
        act = self.server.owner.act(asked)
        try:
            self._perform(act, asked)
        finally:
            self.server.owner.done()

    do_GET = do_DELETE = do_POST

    def _perform(self, act: Act, asked: Asked) -> None:
        if act.delay and not self.server.owner.wait(act.delay):
            self.close_connection = True
            return
        body = act.body.replace(b"{key}", asked.key.encode()) if act.echo else act.body
        self.send_response(act.status)
        for name, value in act.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            end = len(body) if act.cut_after is None else act.cut_after
            for start in range(0, end, _CHUNK):
                self.server.owner.sent_bytes += self.wfile.write(body[start : min(start + _CHUNK, end)])
        self.close_connection = act.cut_after is not None

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""
