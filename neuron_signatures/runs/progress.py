"""How long computations report their progress: the caller shows it, for example as a bar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable


@runtime_checkable
class Bar(Protocol):
    """The progress of one computation; used as a context manager."""

    def __enter__(self) -> Bar: ...

    def __exit__(self, *_: object) -> None: ...

    def advance(self, n: int) -> None:
        """`n` more steps are done."""

    def skip(self, n: int) -> None:
        """`n` steps were done by an earlier process."""

    def extend(self, n: int) -> None:
        """There are `n` steps more than was known."""

    def note(self, text: str) -> None:
        """What else is to be said about it now, such as its cost so far; replaces the note before."""


# Called with the unit and the number of steps.
ProgressOf = Callable[[str, int], Bar]


def silent(unit: str, total: int) -> Bar:
    """A bar that shows nothing."""
    return _Silent()


class _Silent:
    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def advance(self, n: int) -> None: ...

    def skip(self, n: int) -> None: ...

    def extend(self, n: int) -> None: ...

    def note(self, text: str) -> None: ...
