"""Many items at a time in one event loop, which a signal or the first error ends in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from neuron_signatures.runs.stopping import HeldStop

Item = TypeVar("Item")

GRACE_SECONDS = 15.0
"""How long answers that are already paid for are waited for after a signal."""
HOLD_SECONDS = 22.0
"""After this time a signal ends the process's work even if it does not return to the event loop."""
_POLL_SECONDS = 0.1


async def run_pool(
    items: Iterable[Item], work: Callable[[Item], Awaitable[None]], *, workers: int, stop: HeldStop
) -> None:
    """Await `work` of every item, `workers` at a time, in the order of the items.

    After the first exception no further items are begun; those in work are finished, and then it is raised. After a
    stop signal the same, but items that are still in work after `GRACE_SECONDS` are cancelled.
    """
    queue, failed = iter(items), asyncio.Event()

    async def one_after_another() -> None:
        for item in queue:
            await work(item)
            if stop.wanted or failed.is_set():
                return

    tasks = [asyncio.create_task(one_after_another()) for _ in range(workers)]
    watcher = asyncio.create_task(_cancel_late(tasks, stop))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed.set()
        await asyncio.wait(tasks)
    finally:
        for task in (*tasks, watcher):
            task.cancel()
        await asyncio.gather(*tasks, watcher, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _cancel_late(tasks: Sequence[asyncio.Task[None]], stop: HeldStop) -> None:
    """After a stop signal, give the tasks their time and cancel what is left."""
    while not stop.wanted:
        await asyncio.sleep(_POLL_SECONDS)
    await asyncio.wait(tasks, timeout=GRACE_SECONDS)
    for task in tasks:
        task.cancel()
