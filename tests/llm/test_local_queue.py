"""Jobs wait, and are taken in batches."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from neuron_signatures.llm.local_queue import BatchQueue


class Recorder:
    """Answers a job with itself doubled; the first batch waits until `go`."""

    def __init__(self, most: int) -> None:
        self.most, self.batches, self.go = most, [], threading.Event()
        self.queue: BatchQueue[int, int] = BatchQueue(self.run, lambda: self.most, lambda job: job)

    def run(self, jobs: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(jobs))
        assert self.go.wait(20)
        if 13 in jobs:
            raise ValueError("thirteen")
        return [2 * job for job in jobs]

    def first(self, job: int) -> None:
        """A job that occupies the thread, so that the next ones wait."""
        self.queue.put(job)
        while not self.batches:
            pass


def test_a_batch_has_the_oldest_job_and_those_nearest_to_it_in_size():
    r = Recorder(3)
    r.first(0)
    futures = [r.queue.put(job) for job in (50, 10, 52, 90, 12, 49, 11)]
    r.go.set()
    assert [f.result(20) for f in futures] == [100, 20, 104, 180, 24, 98, 22]
    assert r.batches == [[0], [50, 52, 49], [10, 12, 11], [90]]
    r.queue.close()


def test_jobs_that_come_together_share_a_batch():
    r = Recorder(4)
    r.go.set()
    futures = [r.queue.put(job) for job in range(4)]
    assert [f.result(20) for f in futures] == [0, 2, 4, 6]
    assert sorted(len(b) for b in r.batches)[-1] > 1
    r.queue.close()


def test_an_error_is_raised_by_the_jobs_of_its_batch_only():
    r = Recorder(1)
    r.go.set()
    futures = [r.queue.put(job) for job in (1, 13, 2)]
    with pytest.raises(ValueError, match="thirteen"):
        futures[1].result(20)
    assert (futures[0].result(20), futures[2].result(20)) == (2, 4)
    r.queue.close()


def test_cancelled_jobs_do_not_run():
    r = Recorder(1)
    r.first(0)
    futures = [r.queue.put(job) for job in (1, 2)]
    assert futures[0].cancel()
    r.go.set()
    assert futures[1].result(20) == 4 and r.batches == [[0], [2]]
    r.queue.close()


def test_closing_cancels_what_waits():
    r = Recorder(1)
    r.first(0)
    waiting = r.queue.put(1)
    closer = threading.Thread(target=r.queue.close)
    closer.start()
    while not waiting.cancelled():
        pass
    r.go.set()
    closer.join(20)
    assert not closer.is_alive() and r.batches == [[0]]
    with pytest.raises(RuntimeError, match="closed"):
        r.queue.put(2)
