"""The HTTP client below openai's: no redirects, bounded bodies, and no header but those named here.

openai 3.51 builds its requests on httpx2, follows redirects with the prompt in them, reads bodies of any size, and adds
headers from `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID` and `OPENAI_CUSTOM_HEADERS`, whatever the server is.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from neuron_signatures.llm.endpoint import Endpoint
from neuron_signatures.llm.wire.secret import Secret

MAX_BODY = 4 << 20
"""Bytes of a response. An answer of 2,000 tokens with 20 candidates each takes about 3 MB."""
_CONNECT_SECONDS = 10.0


class BodyTooLargeError(httpx2.RequestError):
    """The response is larger than the limit, or compressed although that was not asked for."""


class BoundedClient(httpx2.AsyncClient):
    """Sends the body and our own headers; reads at most `MAX_BODY` bytes of the response."""

    def __init__(self, endpoint: Endpoint, headers: Mapping[str, str], *, timeout: float, connections: int) -> None:
        """`headers` are sent beside those of every request, and hold the key."""
        # Proxies of the environment only for https: they pass on an encrypted connection and see no key.
        super().__init__(
            follow_redirects=False,
            trust_env=endpoint.base_url.startswith("https:"),
            timeout=httpx2.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS), pool=None),
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        )
        self._own_headers = httpx2.Headers(
            {
                "Accept": "application/json",
                "Accept-Encoding": "identity",  # a bound on a compressed body is no bound
                "User-Agent": "neuron-signatures",
                **headers,
            }
        )
        # Their lines of level DEBUG hold the headers of responses, which can repeat a key.
        for name in ("httpcore2", "httpx2"):
            logging.getLogger(name).setLevel(logging.WARNING)

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """The response, read to its end."""
        headers = self._own_headers.copy()
        for name in ("host", "content-length"):
            if name in request.headers:
                headers[name] = request.headers[name]
        request.headers = headers
        options["follow_redirects"] = False
        response = await super().send(request, stream=True, **options)
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise BodyTooLargeError("the response is compressed", request=request)
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _BoundedStream(response.stream, request)
            await response.aread()
        finally:
            await response.aclose()
        return response


class _BoundedStream(httpx2.AsyncByteStream):
    """Raises `BodyTooLargeError` where the body exceeds the limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, request: httpx2.Request) -> None:
        self._stream, self._request = stream, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_BODY:
                raise BodyTooLargeError(f"the response is larger than {MAX_BODY} bytes", request=self._request)
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def bearer(key: Secret) -> dict[str, str]:
    """The headers of a chat API."""
    return {"Authorization": f"Bearer {key.reveal()}", "Content-Type": "application/json"}
