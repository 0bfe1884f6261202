"""Who may ask: the rules that every request is checked by before its body is read.

| rule | against | otherwise |
|---|---|---|
| `Host` is a name of this server, with its port or none | DNS rebinding: another site's name that points here | 403 |
| `Origin`, if present, is this server | requests by scripts of other pages, also of other ports of this machine | 403 |
| `Sec-Fetch-Site`, if present, is same-origin or none | the same, for requests without `Origin` | 403 |
| `Authorization: Bearer TOKEN`, if the server has a token | other users and machines | 401 |
| not both `Content-Length` and `Transfer-Encoding` | a second request hidden from a proxy (RFC 9112, 6.1) | 400 |

There are no CORS headers, so no page of another origin can read an answer.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neuron_signatures.server.problems import SECURITY_HEADERS, ProblemError, problem_error, problem_response
from neuron_signatures.server.settings import LOOPBACK, Settings

_OWN_SITE: Final = ("same-origin", "none")


class Security:
    """Middleware (ASGI) with the rules above; it also adds `SECURITY_HEADERS` to every answer."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = own_hosts(settings)
        self._token = None if settings.token is None else settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            try:
                self._check(Headers(scope=scope))
            except ProblemError as e:
                await problem_response(e)(scope, receive, send)
                return
            await self._app(scope, receive, _with_headers(send))
        else:  # a WebSocket
            await send({"type": "websocket.close"})

    def _check(self, headers: Headers) -> None:
        """Raise `ProblemError` for a request that breaks a rule."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            shown = hosts[0] if len(hosts) == 1 else "none or several"
            step = f"Start the server with --allowed_host {shown}" if len(hosts) == 1 else ""
            raise problem_error(403, "forbidden", f"Host {shown[:200]!r} is not this server", next_step=step)
        own = (f"http://{hosts[0]}".lower(), f"https://{hosts[0]}".lower())
        if any(origin.lower() not in own for origin in origins):
            raise problem_error(403, "forbidden", f"a page of {origins[0][:200]!r} asks, and pages may not")
        if any(site.lower() not in _OWN_SITE for site in headers.getlist("sec-fetch-site")):
            raise problem_error(403, "forbidden", "a page of another site asks, and pages may not")
        if self._token is not None and not _is_token(headers.getlist("authorization"), self._token):
            raise problem_error(
                401, "unauthorized", "this server needs its token", headers={"WWW-Authenticate": "Bearer"},
                next_step="Send Authorization: Bearer TOKEN",
            )  # fmt: skip
        if "content-length" in headers and "transfer-encoding" in headers:
            what = "the request has both Content-Length and Transfer-Encoding"
            raise problem_error(400, "invalid_request", what, headers={"Connection": "close"})


def own_hosts(settings: Settings) -> frozenset[str]:
    """The values of `Host` that mean this server, in lower case."""
    names = [settings.name, *(f"[{name}]" if ":" in name else name for name in LOOPBACK)]
    found = {form for name in names for form in (name, f"{name}:{settings.port}")}
    for name in settings.allowed_hosts:
        found |= {name} if _has_port(name) else {name, f"{name}:{settings.port}"}
    return frozenset(name.lower() for name in found)


def _has_port(name: str) -> bool:
    return ":" in name.rpartition("]")[2]


def _is_token(sent: Sequence[str], token: bytes) -> bool:
    """Compared in constant time."""
    scheme, _, value = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
    same = hmac.compare_digest(value.strip().encode("latin-1"), token)
    return scheme.lower() == "bearer" and same


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(SECURITY_HEADERS)
        await send(message)

    return sending
