"""A bounded queue with worker threads: jobs in order of arrival, a time limit, and jobs dropped whose client left."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.server.held import GivenUp, Stop
from neuron_signatures.server.problems import ProblemError, problem_error, unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Stop], T]
_LONGEST_RETRY = 30
"""Seconds of a Retry-After."""
_WEIGHT = 0.2
"""Of the newest job in the running mean of their times."""
_WAITING_SHARE = 0.5
"""Of a request's time that may be spent in the queue, by that mean: the times of jobs vary."""


class Job(Generic[T]):
    """Work that waits, runs or has ended. A job that was given up is not started, and its `Stop` returns True."""

    def __init__(self, work: Work[T], *, has_client: bool) -> None:
        self._work: Work[T] | None = work
        self._has_client = has_client
        self._given_up = threading.Event()
        self.arrived = time.monotonic()
        self.started: float | None = None

    def run(self) -> T:
        """The result of the work, on the worker's thread."""
        work, self._work = self._work, None
        if work is None or self._given_up.is_set():
            raise GivenUp
        self.started = time.monotonic()
        return work(self._given_up.is_set)

    def give_up(self) -> None:
        """Ask the work to end; if it has not begun, forget it and the memory that it holds."""
        self._given_up.set()
        self._work = None

    def log_defect(self, future: Future[T]) -> None:
        """Log an unexpected exception of a job for which no client waits: nobody else would see it."""
        if future.cancelled() or (self._has_client and not self._given_up.is_set()):
            return
        error = future.exception()
        if error is not None and not isinstance(error, GivenUp | ProjectError | ProblemError):
            log.error("a job without a client raised", exc_info=error)


class JobQueue:
    """`threads` workers and at most `most` jobs that wait or run.

    `run` and `start` are called on the event loop's thread, the work runs on a worker's. An exception of a job is its
    result: the worker goes on.
    """

    def __init__(self, name: str, *, threads: int, most: int, timeout: float) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._threads, self._most, self._timeout = threads, most, timeout
        self._jobs: dict[Future[Any], Job[Any]] = {}
        self._lock = threading.Lock()
        self._mean_seconds: float | None = None
        self._closing = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Jobs that wait or run."""
        return len(self._jobs)

    async def run(self, work: Work[T], request: Request) -> T:
        """The result of `work`, or what it raises.

        Raises `ProblemError`: 429 if the queue is full or the jobs before this one take too long for it, 504 if the
        time is over, 503 if the server stops. The job is given up then, and when the client of `request` leaves.
        """
        if len(self._jobs) >= self._most or self._expected_seconds() > _WAITING_SHARE * self._timeout:
            raise self._full()
        job, future = self._submit(work, has_client=True)
        result = asyncio.wrap_future(future)
        gone, closing = asyncio.ensure_future(_left(request)), asyncio.ensure_future(self._closing.wait())
        ends: set[asyncio.Future[Any]] = {result, gone, closing}
        try:
            await asyncio.wait(ends, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                return _result_of(result)
            if gone.done():
                raise unavailable("the client left")
            raise stopping() if closing.done() else self._too_late(job)
        finally:
            gone.cancel()
            closing.cancel()
            if not result.done():
                job.give_up()
                result.cancel()

    async def run_own(self, work: Work[None], *, wait: float | None) -> None:
        """Queue work of the server itself, without a limit, and wait for its end at most `wait` seconds.

        None waits as long as it takes. Raises what the work raises if it ends in time, and `ProblemError` if the
        server stops.
        """
        ended = asyncio.wrap_future(self._submit(work, has_client=False)[1])
        ended.add_done_callback(_retrieve)
        closing = asyncio.ensure_future(self._closing.wait())
        ends: set[asyncio.Future[Any]] = {ended, closing}
        try:
            await asyncio.wait(ends, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                _result_of(ended)
            elif closing.done():
                raise stopping()
        finally:
            closing.cancel()

    def stop(self) -> None:
        """Give up all jobs and take no more. Those who wait for one get 503."""
        self._closing.set()
        with self._lock:
            jobs = list(self._jobs.items())
        for future, job in jobs:
            job.give_up()
            future.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def join(self, seconds: float) -> None:
        """After `stop`: wait so long for the jobs that run."""
        end = time.monotonic() + seconds
        while self._jobs and time.monotonic() < end:
            time.sleep(0.02)

    def _submit(self, work: Work[T], *, has_client: bool) -> tuple[Job[T], Future[T]]:
        if self._closing.is_set():
            raise stopping()
        job = Job(work, has_client=has_client)
        future = self._executor.submit(job.run)
        with self._lock:
            self._jobs[future] = job
        future.add_done_callback(self._ended)
        return job, future

    def _ended(self, future: Future[Any]) -> None:
        with self._lock:
            job = self._jobs.pop(future)
        job.log_defect(future)
        if job.started is not None:
            seconds = time.monotonic() - job.started
            mean = seconds if self._mean_seconds is None else self._mean_seconds
            self._mean_seconds = mean + _WEIGHT * (seconds - mean)

    def _expected_seconds(self) -> float:
        """Until the present jobs have ended, if they take as long as those before; 0 before the first."""
        return (self._mean_seconds or 0.0) * len(self._jobs) / self._threads

    def _full(self) -> ProblemError:
        wait = self._expected_seconds()
        what = f"{len(self._jobs)} requests wait or run"
        if len(self._jobs) >= self._most:
            what += f", the most that this server accepts ({self._most})"
            step = "Try again later, or start the server with a larger --max_queue"
        else:
            what += f" and take about {wait:.0f} s of the {self._timeout:g} s that a request may take"
            step = "Try again later, or start the server with a larger --timeout"
        headers = {"Retry-After": str(min(max(1, math.ceil(wait)), _LONGEST_RETRY))}
        return problem_error(429, "queue_full", what, next_step=step, headers=headers)

    def _too_late(self, job: Job[Any]) -> ProblemError:
        waited = self._timeout if job.started is None else job.started - job.arrived
        return problem_error(
            504, "timed_out", f"not finished within {self._timeout:g} s, {waited:.1f} s of them in the queue",
            next_step="Use a smaller request, or start the server with a larger --timeout",
        )  # fmt: skip


def stopping() -> ProblemError:
    return unavailable("the server is stopping", next_step="Try again when it runs", retry_after=5)


def _result_of(result: asyncio.Future[T]) -> T:
    if result.cancelled():  # by `close`
        raise stopping()
    return result.result()


def _retrieve(ended: asyncio.Future[None]) -> None:
    """Mark the exception as seen, which asyncio would log as never retrieved."""
    if not ended.cancelled():
        ended.exception()


async def _left(request: Request) -> None:
    """Returns when the client closes its connection. The request's body has been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
