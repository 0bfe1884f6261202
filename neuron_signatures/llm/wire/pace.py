"""Limits per minute, and pauses that a server asks for."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """When the next request may start. Requests are spread evenly over the minute: there is no burst at its beginning.

    `requests` and `tokens` are limits per minute, None for none. Tokens are those of the prompt, as estimated, and the
    limit of the answer.
    """

    def __init__(self, requests: int | None, tokens: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._request_seconds = 60 / requests if requests else 0.0
        self._token_seconds = 60 / tokens if tokens else 0.0
        self._clock = clock
        self._next = self._paused_until = 0.0

    def claim(self, tokens: int) -> float:
        """Take the next place in the queue; returns the seconds to wait for it."""
        now = self._clock()
        start = max(now, self._next, self._paused_until)
        self._next = max(now, self._next) + max(self._request_seconds, tokens * self._token_seconds)
        return start - now

    def pause(self, seconds: float) -> None:
        """No request starts within this time: the server has too many."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)
