"""Requests and responses: bounded in time and size, to one address only, repeated where that is safe."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx
from pydantic import ValidationError

from neuron_signatures.api.problem import MEDIA_TYPE, Problem
from neuron_signatures.client.address import Address
from neuron_signatures.client.deadlines import DeadlineTransport, until
from neuron_signatures.client.problem import ServerProblem, bad_answer, no_answer, no_server
from neuron_signatures.llm.wire.retries import retry_after
from neuron_signatures.llm.wire.secret import Secret
from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.files import human_bytes

CONNECT_SECONDS = 5.0
CONNECTIONS = 16
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0
_MAX_PROBLEM = 1 << 16
_REFUSED = (429, 503)  # the request was not run: a full queue, a server that stops

Params = Mapping[str, str | int]


class Call(NamedTuple):
    """One request. `repeatable`: whether it may be sent again after it perhaps arrived."""

    method: str
    path: str
    body: bytes | None = None
    params: Params | None = None
    max_bytes: int = 64 << 20
    repeatable: bool = True


class Response(NamedTuple):
    status: int
    headers: httpx.Headers
    body: bytes


class Wire:
    """Sends calls to one server. May be used by several threads."""

    def __init__(self, address: Address, token: Secret | None, *, retries: int, connect_seconds: float) -> None:
        self.url = address.url
        self._token, self._retries, self._connect_seconds = token, retries, connect_seconds
        tls = httpx.create_ssl_context() if address.is_encrypted else None
        self._http = httpx.Client(
            transport=DeadlineTransport(tls, connections=CONNECTIONS),
            headers=_headers(token),
            trust_env=False,
            follow_redirects=False,
        )
        # Their lines of level DEBUG hold the headers of responses.
        for name in ("httpcore", "httpx"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def close(self) -> None:
        self._http.close()

    def send(self, call: Call, seconds: float, *, retries: int | None = None) -> Response:
        """The response of status 2xx within this time, which includes repetitions. Raises `ServerProblem`."""
        end, attempts = time.monotonic() + seconds, 1 + (self._retries if retries is None else retries)
        for attempt in range(1, attempts + 1):
            wait = min(_FIRST_WAIT * 2.0 ** (attempt - 1), _LONGEST_WAIT) * (1 - random.random() / 2)
            try:
                response = self._once(call, end)
            except (httpx.ConnectError, httpx.ConnectTimeout) as e:  # nothing was sent
                problem = no_server(self.url)
                cause: Exception | None = e
            except httpx.TimeoutException as e:
                raise no_answer(self.url, f"no answer within {seconds:.3g} s") from e
            except httpx.TransportError as e:
                problem, cause = no_answer(self.url, "the connection was lost"), e
                if not call.repeatable:
                    raise problem from e
            else:
                if 200 <= response.status < 300:
                    return response
                problem, cause = self._problem(response), None
                asked = retry_after(response.headers)
                if response.status not in _REFUSED or (response.status == 503 and asked is None):
                    raise problem
                wait = wait if asked is None else max(asked, wait)
            if attempt == attempts or time.monotonic() + wait > end:
                raise problem from cause
            time.sleep(wait)
        raise AssertionError("a call is sent at least once")

    def value(self, response: Response) -> Any:
        """The JSON value of a response. Raises `ServerProblem`."""
        try:
            return parse_json(response.body)
        except (ValueError, RecursionError) as e:
            raise bad_answer(self.url, self._what(response), response.status) from e

    def _once(self, call: Call, end: float) -> Response:
        request = self._http.build_request(
            call.method, f"{self.url}/v1{call.path}", params=call.params, content=call.body,
            headers={"Content-Type": "application/json"} if call.body is not None else None,
            extensions=until(end, connect_seconds=self._connect_seconds),
        )  # fmt: skip
        response = self._http.send(request, stream=True)
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise bad_answer(self.url, "compressed, which was not asked for", response.status_code)
            limit = call.max_bytes if response.status_code < 300 else _MAX_PROBLEM
            return Response(response.status_code, response.headers, self._body(response, limit))
        finally:
            response.close()

    def _body(self, response: httpx.Response, limit: int) -> bytes:
        body = bytearray()
        for part in response.iter_raw():
            body += part
            if len(body) > limit:
                raise bad_answer(self.url, f"larger than {human_bytes(limit)}", response.status_code)
        return bytes(body)

    def _problem(self, response: Response) -> ServerProblem:
        """What an error response says."""
        if _media_type(response) != MEDIA_TYPE:
            return bad_answer(self.url, self._what(response), response.status)
        try:
            found = Problem.model_validate(self.value(response))
        except ValidationError:
            return bad_answer(self.url, self._what(response), response.status)
        detail, next_step = self._redact(found.detail or found.title), self._redact(found.next_step)
        return ServerProblem(found.type, detail, status=response.status, next_step=next_step)

    def _redact(self, text: str) -> str:
        return text if self._token is None else self._token.redact(text)

    def _what(self, response: Response) -> str:
        return f"HTTP {response.status}, {_media_type(response)[:60] or 'no media type'}"


def _media_type(response: Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _headers(token: Secret | None) -> dict[str, str]:
    """`identity`, because a bound on a compressed body is no bound."""
    own = {
        "Accept": f"application/json, {MEDIA_TYPE}",
        "Accept-Encoding": "identity",
        "User-Agent": "neuron-signatures",
    }
    return own if token is None else {**own, "Authorization": f"Bearer {token.reveal()}"}
