"""An HTTP transport whose time limits hold for a whole request.

httpx 0.28 limits the time of each read, so that a server which sends one byte at a time can hold a client for hours.
Here the numbers in a request's `timeout` extension are points of `time.monotonic` instead of seconds.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

_WRITTEN_AT_ONCE = 1 << 16
_SHORTEST = 1e-3  # 0 would make a socket non-blocking


class DeadlineTransport(httpx.HTTPTransport):
    """A pool of direct connections: no proxies, no retries. `tls` is needed for https."""

    def __init__(self, tls: ssl.SSLContext | None, *, connections: int) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls, max_connections=connections, keepalive_expiry=5.0, network_backend=_Backend()
        )


def until(end: float, *, connect_seconds: float) -> dict[str, dict[str, float]]:
    """The extensions of a request that ends at `end`, a point of `time.monotonic`."""
    now = time.monotonic()
    connect = min(end, now + connect_seconds)
    return {"timeout": {"connect": connect, "read": end, "write": end, "pool": max(_SHORTEST, end - now)}}


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITTEN_AT_ONCE):
            part = buffer[start : start + _WRITTEN_AT_ONCE]
            self._inner.write(part, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, left, local_address, socket_options))


def _left(end: float | None, error: type[Exception]) -> float | None:
    """Seconds until `end`. Raises `error` if it has passed."""
    if end is None:
        return None
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise error("the time is over")
    return max(_SHORTEST, seconds)
