"""Requests that wait for a model that answers several at a time: a thread takes them in batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

LINGER_SECONDS = 0.02
"""How long a batch that is not full waits for the next request. Little against the seconds of a batch, and enough for
the tasks that just got an answer to ask again."""


class BatchQueue(Generic[Job, Result]):
    """Jobs are answered by `run`, up to `batch_size()` at a time, in one thread that starts with the first job.

    A batch has the job that waits longest and those of the most similar size. `run` may raise: each job of the batch
    then raises it.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Sequence[Result]],
        batch_size: Callable[[], int],
        size: Callable[[Job], int],
    ) -> None:
        self._run, self._batch_size, self._size = run, batch_size, size
        self._waiting: list[tuple[Job, Future[Result]]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, job: Job) -> Future[Result]:
        """The result to come. It can be cancelled until its batch starts."""
        future: Future[Result] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the queue is closed")
            self._waiting.append((job, future))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="local model", daemon=True)
                self._thread.start()
            self._changed.notify()
        return future

    def is_closed(self) -> bool:
        """For `run`, which may then end early."""
        return self._closed

    def close(self) -> None:
        """Cancel what waits and end the thread once `run` returns."""
        with self._changed:
            self._closed = True
            for _, future in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            jobs, futures = [job for job, _ in batch], [future for _, future in batch]
            try:
                results = self._run(jobs)
            except BaseException as e:  # noqa: BLE001  # raised again where the answer is awaited
                for future in futures:
                    future.set_exception(e)
                continue
            for future, result in zip(futures, results, strict=True):
                future.set_result(result)

    def _next_batch(self) -> list[tuple[Job, Future[Result]]]:
        """Jobs that now run; empty when the queue is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                while len(self._waiting) < self._batch_size() and self._changed.wait(LINGER_SECONDS):
                    if self._closed:
                        break
                if self._closed:
                    return []
                taken = self._take()
            if batch := [entry for entry in taken if entry[1].set_running_or_notify_cancel()]:
                return batch

    def _take(self) -> list[tuple[Job, Future[Result]]]:
        """The oldest job and those of the most similar size, in the order in which they came."""
        first = self._size(self._waiting[0][0])
        by_size = sorted(range(len(self._waiting)), key=lambda i: (abs(self._size(self._waiting[i][0]) - first), i))
        chosen = sorted(by_size[: max(1, self._batch_size())])
        taken = [self._waiting[i] for i in chosen]
        self._waiting = [entry for i, entry in enumerate(self._waiting) if i not in set(chosen)]
        return taken
