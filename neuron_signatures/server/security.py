"""Rules that every request is checked by before a route sees it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from neuron_signatures.server.settings import Settings


class Security:
    """Middleware (ASGI)."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
