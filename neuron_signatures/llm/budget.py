"""The limits on requests and money: stop before they could be passed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from neuron_signatures.llm.errors import StopAsking


@dataclass(frozen=True)
class Limits:
    """None is no limit. They bound what one stage sends for a run in all, so that a job that is started again and again
    does not spend the limit again and again."""

    max_requests: int | None = None
    """HTTP requests, with those that failed and were repeated."""
    max_cost: float | None = None
    """US dollars."""
    max_failures: int | None = 32
    """Failed answers in a row, after which the server is taken to be out of order."""


class Budget:
    """What is left. A request reserves the most that it can cost before it is sent, and settles what it did cost."""

    def __init__(self, limits: Limits, *, requests: int, cost: float) -> None:
        self._limits = limits
        self._requests, self._cost = requests, cost
        self._reserved = 0.0
        self._n_open = 0
        self._settled = asyncio.Event()

    async def reserve(self, most: float) -> None:
        """Returns when the request may be sent. Waits as long as open requests may turn out cheaper than reserved.

        Raises `StopAsking` if the request could pass a limit.
        """
        limit = self._limits.max_cost
        while limit is not None and self._cost + self._reserved + most > limit and self._n_open:
            if self._settled.is_set():
                self._settled = asyncio.Event()
            await self._settled.wait()
        if limit is not None and self._cost + most > limit:
            what = f"the next request could cost ${most:.4f}, and ${self._cost:.4f} of --max_cost {limit:g} are spent"
            raise StopAsking(what, next_step="Raise it and run again; what is answered is kept")
        if self._limits.max_requests is not None and self._requests >= self._limits.max_requests:
            what = f"--max_requests {self._limits.max_requests} is reached"
            raise StopAsking(what, next_step="Raise it and run again; what is answered is kept")
        self._requests += 1
        self._reserved += most
        self._n_open += 1

    def release(self, most: float) -> None:
        """A request that reserved `most` was not sent."""
        self._requests -= 1
        self.settle(most, 0.0)

    def settle(self, most: float, cost: float) -> None:
        """A request that reserved `most` is over, and cost at most `cost`."""
        self._reserved = self._reserved - most if self._n_open > 1 else 0.0
        self._n_open -= 1
        self._cost += cost
        self._settled.set()
