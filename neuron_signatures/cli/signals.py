"""Stopping a stage early: after SIGTERM, Ctrl-C or Slurm's SIGUSR1 it can be resumed."""

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

    Files on disk are always complete, so it is safe to drop the current item. A second signal ends the process
    immediately with exit code 128 + its number.
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
        if _is_importing(frame):  # an exception here would break C modules such as numpy's: retry later
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
        what = f"stopped by {signal.Signals(seen[0]).name}; finished work is kept"
        raise StoppedEarly(what, next_step=f"To continue, {resume}") from None
    finally:
        for n, handler in before.items():
            signal.signal(getattr(signal, n), handler)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
