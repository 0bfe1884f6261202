"""Stopping a stage early: after SIGTERM, Ctrl-C, a closed terminal or Slurm's SIGUSR1 it can be resumed."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from neuron_signatures.runs.errors import StoppedEarly, StopSignal
from neuron_signatures.runs.stopping import held_stop

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
_ONCE = ("SIGHUP", "SIGUSR1")
_ONCE_IN_SLURM = (*_ONCE, "SIGTERM")  # sent by Slurm and by srun; Slurm ends the process by SIGKILL if it has to


@contextlib.contextmanager
def stop_on_signals(*, resume: str) -> Iterator[None]:
    """Within the block, SIGTERM, SIGINT, SIGHUP and Slurm's SIGUSR1 end it with `StoppedEarly`.

    Files on disk are always complete, so it is safe to drop the current item; within `hold_stop` it may be finished
    first. A second signal ends the process immediately with exit code 128 + its number. Some are ignored instead when
    they come again, because they are sent twice: SIGHUP (by the shell and the system, when a terminal is closed),
    SIGUSR1 (by a scheduler, to a process and to its group), and in a job of Slurm SIGTERM. A process that ignores
    SIGHUP from its start (`nohup`) continues to.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(getattr(signal, n)) for n in _NAMES if hasattr(signal, n)}
    if before.get("SIGHUP") is signal.SIG_IGN:
        del before["SIGHUP"]
    once = _ONCE_IN_SLURM if "SLURM_JOB_ID" in os.environ else _ONCE
    seen: list[int] = []
    expired = threading.Event()

    def expire() -> None:
        hold = held_stop()
        if hold is not None and hold.droppable:
            expired.set()
            _thread.interrupt_main(signal.SIGINT)

    def stop(signum: int, frame: FrameType | None) -> None:
        hold, late = held_stop(), expired.is_set()
        if late and (hold is None or not hold.droppable):  # the work has ended meanwhile, or is being stored
            expired.clear()
            return
        if seen and not late:
            os._exit(128 + signum)
        if _is_importing(frame):  # an exception here would break C modules such as numpy's: retry later
            _later(0.05, _thread.interrupt_main, signum)
            return
        expired.clear()
        seen.append(signum)
        if signal.Signals(signum).name in once:
            signal.signal(signum, signal.SIG_IGN)
        if hold is not None and not late:
            hold.wanted = True
            _later(hold.seconds, expire)
            return
        raise StopSignal

    for n in before:
        signal.signal(getattr(signal, n), stop)
    try:
        yield
    except StopSignal:
        what = f"stopped by {signal.Signals(seen[0]).name}; finished work is kept"
        raise StoppedEarly(what, next_step=f"To continue, {resume}") from None
    finally:
        for n, handler in before.items():
            if signal.getsignal(getattr(signal, n)) is stop:
                signal.signal(getattr(signal, n), handler)


def _later(seconds: float, call: Callable[..., object], *args: int) -> None:
    timer = threading.Timer(seconds, call, args)
    timer.daemon = True
    timer.start()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
