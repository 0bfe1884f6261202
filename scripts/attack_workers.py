"""Worker processes that run cases, watched for time, memory and a sudden end. Linux and macOS (they are forked)."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

from attack_common import MAX_WAIT, Case, Clock, Result, Trial, _status

RunCase = Callable[[Trial], None]

_fork = multiprocessing.get_context("fork")
_MEMORY_LIMIT = 5_000_000_000
"""Bytes of address space beyond that of a new worker, so that a bomb ends the worker and not the machine."""


def run_cases(
    cases: Sequence[Case], run_case: RunCase, *, shared: Path, scratch: Path, processes: int
) -> Iterator[Result]:
    """Run every case in one of several processes and yield the results in the order in which they end.

    A step of more than `MAX_WAIT` seconds and the end of a process are defects of the case; a new process takes over.
    """
    left = iter(cases)
    workers = [_Worker(run_case, shared, scratch, n) for n in range(min(processes, len(cases)))]
    busy: list[_Worker] = []
    try:
        for worker in workers:
            if worker.take(next(left, None)):
                busy.append(worker)
        while busy:
            ready = wait([w.pipe for w in busy], timeout=0.2)
            for worker in list(busy):
                result = worker.result() if worker.pipe in ready else worker.overdue()
                if result is None:
                    continue
                yield result
                if not worker.take(next(left, None)):
                    busy.remove(worker)
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that runs one case at a time; it is replaced when it ends or hangs."""

    def __init__(self, run_case: RunCase, shared: Path, scratch: Path, number: int) -> None:
        self._run_case, self._shared, self._scratch = run_case, shared, scratch
        self._name, self._lives = f"w{number}", 0
        self._case: Case | None = None
        self._start()

    def take(self, case: Case | None) -> bool:
        """Begin a case; False without one."""
        self._case = case
        if case is not None:
            self.pipe.send(case)
        return case is not None

    def result(self) -> Result:
        """The result of the case, or the defect that its process ended."""
        try:
            result: Result = self.pipe.recv()
            return result
        except EOFError:
            self.process.join()
            return self._replaced(f"the process ended with {self.process.exitcode}")

    def overdue(self) -> Result | None:
        """The defect that a step takes too long, else None."""
        if self.clock.seconds() <= MAX_WAIT:
            return None
        self.process.kill()
        self.process.join()
        return self._replaced(f"no end after {MAX_WAIT:.0f} s")

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _replaced(self, what: str) -> Result:
        assert self._case is not None
        result = Result(self._case, done=self.clock.done(), defects=[f"{self.clock.label()}: {what}"])
        shutil.rmtree(self.folder, ignore_errors=True)
        self._start()
        return result

    def _start(self) -> None:
        self._lives += 1
        self.folder = self._scratch / f"{self._name}-{self._lives}"
        self.folder.mkdir(parents=True)
        self.clock = Clock()
        self.pipe, other = _fork.Pipe()
        call = (self._run_case, self._shared, self.folder, self.clock, other)
        self.process = _fork.Process(target=_serve, args=call, daemon=False)
        self.process.start()
        other.close()


def _serve(run_case: RunCase, shared: Path, folder: Path, clock: Clock, pipe: Connection) -> None:
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # nothing waits for the keyboard
    os.dup2(null, 1)
    size = _status("VmSize") + _MEMORY_LIMIT
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = os.getppid()
    while True:
        while not pipe.poll(1.0):
            if os.getppid() != parent:  # it was killed
                return
        case: Case = pipe.recv()
        trial = Trial(case, folder, shared, clock)
        try:
            run_case(trial)
        except Exception as e:  # noqa: BLE001  a fault of the attack, which must not hide the other cases
            trial.defect(f"the attack itself failed: {type(e).__name__}: {e}")
        pipe.send(trial.result)
