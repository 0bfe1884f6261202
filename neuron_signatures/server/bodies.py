"""What a body may be: JSON of bounded size, depth and numbers, which arrives in time.

Checked before a route sees it, because the JSON parser of Python accepts NaN, and fails on deep nesting.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.server.problems import ProblemError, problem_error, problem_response
from neuron_signatures.server.settings import Settings


class _ClientLeft(Exception):
    """The connection was closed before the body had arrived."""


class Bodies:
    """Middleware (ASGI) that reads the body of a POST whole, checks it, and hands it on as one message."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._most = settings.max_body
        self._seconds = settings.body_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(Headers(scope=scope), receive)
        except ProblemError as e:
            await problem_response(e)(scope, receive, send)
        except _ClientLeft:
            pass
        else:
            await self._app(scope, _replay(body, receive), send)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """The body. Raises `ProblemError` 415, 413, 408 or 400, and `_ClientLeft`."""
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            step = "Send Content-Type: application/json"
            raise problem_error(415, "unsupported_media_type", f"Content-Type {media_type[:100]!r}", next_step=step)
        length = headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 18 or int(length) > self._most):
            raise self._too_large()
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read(receive)
        except TimeoutError as e:
            what = f"the body did not arrive within {self._seconds:g} s"
            raise problem_error(408, "timed_out", what, headers={"Connection": "close"}) from e
        try:
            parse_json(body)
        except ValueError as e:
            raise problem_error(400, "invalid_request", f"the body is not valid JSON ({e})") from e
        return body

    async def _read(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientLeft
            body += message.get("body", b"")
            if len(body) > self._most:
                raise self._too_large()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> ProblemError:
        what = f"the body has more than {self._most:,} bytes"
        step = "Send less, or start the server with a larger --max_body"
        return problem_error(413, "too_large", what, next_step=step, headers={"Connection": "close"})


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` that gives the whole body first."""
    rest: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return rest.pop() if rest else await receive()

    return receiving
