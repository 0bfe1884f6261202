"""Long work asks between its forward passes whether anybody still waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from neuron_signatures.runs.progress import Bar, ProgressOf
from neuron_signatures.server.held import GivenUp, Stop

T = TypeVar("T")


def check(stop: Stop) -> None:
    """Raise `GivenUp` if the request was given up."""
    if stop():
        raise GivenUp


def checked(passes: Iterable[T], stop: Stop) -> Iterator[T]:
    """The same items. Raises `GivenUp` before one is asked for, if the request was given up."""
    items = iter(passes)
    while True:
        check(stop)
        try:
            item = next(items)
        except StopIteration:
            return
        yield item


def progress_of(stop: Stop) -> ProgressOf:
    """Bars that show nothing, and raise `GivenUp` at a step if the request was given up."""
    return lambda unit, total: _Steps(stop)


class _Steps:
    def __init__(self, stop: Stop) -> None:
        self._check: Callable[[], None] = lambda: check(stop)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def advance(self, n: int) -> None:
        self._check()

    def skip(self, n: int) -> None: ...

    def extend(self, n: int) -> None:
        self._check()

    def note(self, text: str) -> None: ...
