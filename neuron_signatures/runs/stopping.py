"""Holding back a signal that stops a stage, until its current unit of work is complete."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from neuron_signatures.runs.errors import StopSignal


@dataclass
class HeldStop:
    """A stop that waits for the end of a unit of work, at most `seconds`."""

    seconds: float
    wanted: bool = False
    """Whether a signal has come: the current unit of work is the last."""
    droppable: bool = True
    """Whether the unit of work can be dropped after `seconds`."""

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """The block is finished however long it takes: it stores the work."""
        self.droppable = False
        try:
            yield
        finally:
            self.droppable = True


_held: list[HeldStop] = []


@contextlib.contextmanager
def hold_stop(seconds: float) -> Iterator[HeldStop]:
    """Within the block, a stop signal does not raise `StopSignal` at once, but sets `wanted`.

    The block then ends as soon as it can, and `StopSignal` is raised at its end, or in it after `seconds`, but not
    while it is `saving`.
    """
    stop = HeldStop(seconds)
    _held.append(stop)
    try:
        yield stop
    finally:
        _held.remove(stop)
    if stop.wanted:
        raise StopSignal


def held_stop() -> HeldStop | None:
    """The hold of the current block; None outside one."""
    return _held[-1] if _held else None
