"""Stopping a stage early: SIGTERM, Ctrl-C and Slurm's SIGUSR1 end it so that it can be resumed."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from neuron_signatures.runs.errors import StoppedEarly, StopSignal


@contextlib.contextmanager
def stop_on_signals(*, resume: str) -> Iterator[None]:
    """Within the block, SIGTERM, SIGINT and Slurm's SIGUSR1 end it with `StoppedEarly`.

    What is on disk is whole at every moment, so dropping the item at hand is safe. A second signal ends the process
    at once with 128 + its number.
    """
    names = [n for n in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, n)]
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(getattr(signal, n)) for n in names}
    seen: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        if seen:
            os._exit(128 + signum)
        if _is_importing(frame):  # C modules such as numpy's do not survive an exception there: come back later
            later = threading.Timer(0.05, _thread.interrupt_main, (signum,))
            later.daemon = True
            later.start()
            return
        seen.append(signum)
        raise StopSignal

    for n in names:
        signal.signal(getattr(signal, n), stop)
    try:
        yield
    except StopSignal:
        what = f"stopped by {signal.Signals(seen[0]).name}; what was finished is kept"
        raise StoppedEarly(what, next_step=f"To go on, {resume}") from None
    finally:
        for n, handler in before.items():
            signal.signal(getattr(signal, n), handler)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
