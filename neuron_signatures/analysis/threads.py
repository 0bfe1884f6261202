"""Runs array work, which releases the GIL, in a few threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_MAX_THREADS = 4  # the memory bandwidth is the limit beyond

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield `work(item)` for each item, in order, computing several at a time.

    Items that have not started are cancelled if one fails, or if the caller stops or is interrupted.
    """
    pool = ThreadPoolExecutor(max(1, min(usable_cores(), len(items), _MAX_THREADS)))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def usable_cores() -> int:
    """Number of cores that this process may use, which a batch system may limit."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
