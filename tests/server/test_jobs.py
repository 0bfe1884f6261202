"""Jobs on the model: their order, limits and failures."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import short_of_memory
import torch
from processes import wait_until
from server_apps import add_job, add_reading, listening, logged, served

from neuron_signatures.runs.errors import BadRunError, EnvironmentProblem, UsageError
from neuron_signatures.server import jobs
from neuron_signatures.server.held import GivenUp
from neuron_signatures.server.problems import not_found

SECONDS = 30
"""After which a wait in these tests fails."""


class Gate:
    """Work that says when it has begun, and ends when it may or is given up."""

    def __init__(self):
        self.begun, self.may_end, self.given_up = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, held, stop):
        self.begun.set()
        while not self.may_end.wait(0.01):
            if stop():
                self.given_up.set()
                raise GivenUp
        return {"model": held.facts.model_name}


@contextlib.contextmanager
def held_up(client):
    """Within the block, a request of another client runs. Yields its gate and its answer to come."""
    gate = Gate()
    add_job(client.app, "/gate", gate)
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(client.post, "/gate", json={})
        assert gate.begun.wait(SECONDS)
        try:
            yield gate, answer
        finally:
            gate.may_end.set()


def test_a_job_gets_the_model(held):
    with served(held) as client:
        add_job(client.app, "/job", lambda held, stop: {"neurons": held.facts.d_mlp, "stop": stop()})
        assert client.post("/job", json={}).json() == {"neurons": 512, "stop": False}


def test_a_full_queue_is_429_and_says_when_to_come_back(held):
    with served(held, max_queue=2) as client, ThreadPoolExecutor(1) as pool:
        add_job(client.app, "/job", lambda held, stop: 1)
        with held_up(client) as (_, first):
            second = pool.submit(client.post, "/job", json={})
            wait_until(lambda: client.app.state.service.waiting == 2, SECONDS, "two jobs")
            answer = client.post("/job", json={})
            assert (answer.status_code, answer.json()["type"]) == (429, "queue_full")
            assert 1 <= int(answer.headers["retry-after"]) <= 30
            assert client.get("/v1/memory").json()["queue"] == 2
        assert first.result(SECONDS).json() == {"model": "demo"}
        assert second.result(SECONDS).json() == 1
        assert client.post("/job", json={}).json() == 1


def test_a_request_that_would_come_too_late_is_refused_at_once(held, monkeypatch):
    """Jobs take 20 s here, and a request may take 60."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(jobs, "time", clock)

    def work(held, stop):
        clock.now += 20

    with served(held) as client, ThreadPoolExecutor(1) as pool:
        add_job(client.app, "/job", work)
        assert client.post("/job", json={}).status_code == 200
        wait_until(lambda: not client.app.state.service.busy, SECONDS, "it has ended")
        with held_up(client):
            second = pool.submit(client.post, "/job", json={})
            wait_until(lambda: client.app.state.service.waiting == 2, SECONDS, "two jobs")
            answer = client.post("/job", json={})
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
            assert "2 requests wait or run and take about 40 s of the 60 s" in answer.json()["detail"]
        assert second.result(SECONDS).status_code == 200


def test_jobs_run_one_at_a_time_in_order_of_arrival(held):
    ran, at_once, most = [], 0, 0

    def work(number):
        def run(held, stop):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            ran.append(number)
            at_once -= 1
            return number

        return run

    with served(held) as client, ThreadPoolExecutor(8) as pool, held_up(client):
        for number in range(8):
            add_job(client.app, f"/job{number}", work(number))
            pool.submit(client.post, f"/job{number}", json={})
            wait_until(lambda n=number: client.app.state.service.waiting == n + 2, SECONDS, "the job waits")
    assert ran == list(range(8)) and most == 1


def test_too_late_is_504_and_the_worker_goes_on(held):
    gate = Gate()
    with served(held, timeout=0.3) as client:
        add_job(client.app, "/slow", gate)
        add_job(client.app, "/job", lambda held, stop: 1)
        answer = client.post("/slow", json={})
        assert (answer.status_code, answer.json()["type"]) == (504, "timed_out")
        assert answer.json()["detail"].startswith("not finished within 0.3 s, 0.0 s of them in the queue")
        assert gate.given_up.wait(SECONDS)
        wait_until(lambda: client.app.state.service.waiting == 0, SECONDS, "the job has ended")
        assert client.post("/job", json={}).json() == 1


def test_too_late_in_the_queue(held):
    ran = []
    with served(held, timeout=0.3) as client:
        stuck, may_end = threading.Event(), threading.Event()

        def deaf(held, stop):  # a forward pass that nobody can interrupt
            stuck.set()
            may_end.wait(SECONDS)

        add_job(client.app, "/deaf", deaf)
        add_job(client.app, "/job", lambda held, stop: ran.append(1))
        assert client.post("/deaf", json={}).status_code == 504
        assert stuck.is_set()
        answer = client.post("/job", json={})
        assert answer.status_code == 504 and "0.3 s of them in the queue" in answer.json()["detail"]
        may_end.set()
        wait_until(lambda: not client.app.state.service.busy, SECONDS, "the jobs have ended")
    assert ran == []


def request_of(path):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2"
    return f"{head}\r\n\r\n{{}}".encode()


def test_a_job_is_given_up_when_its_client_leaves(held):
    gate, never = Gate(), Gate()
    with listening(held) as server:
        add_job(server.app, "/gate", gate)
        add_job(server.app, "/never", never)
        with server.connect() as running:
            running.sendall(request_of("/gate"))
            assert gate.begun.wait(SECONDS)
            with server.connect() as waiting:
                waiting.sendall(request_of("/never"))
                wait_until(lambda: server.service.waiting == 2, SECONDS, "both wait")
            wait_until(lambda: server.service.waiting == 1, SECONDS, "the waiting one is dropped")
        assert gate.given_up.wait(SECONDS)
        wait_until(lambda: not server.service.busy, SECONDS, "the jobs have ended")
        assert not never.begun.is_set()


def test_a_stopping_server_answers_those_who_wait(held):
    gate = Gate()
    with contextlib.ExitStack() as stack:
        with listening(held) as server:
            add_job(server.app, "/gate", gate)
            connections = [stack.enter_context(server.connect()) for _ in range(3)]
            for connection in connections:
                connection.sendall(request_of("/gate"))
            wait_until(lambda: server.service.waiting == 3, SECONDS, "all wait")
        assert gate.given_up.is_set()
        for connection in connections:
            head = connection.recv(65536)
            assert b" 503 " in head.split(b"\r\n")[0] and b"retry-after: 5" in head


@pytest.mark.parametrize(
    ("error", "status", "kind", "detail", "step"),
    [(UsageError("bad", where="text", next_step="Do x"), 422, "invalid_request", "text: bad", "Do x"),
     (BadRunError("torn", where="runs/x"), 409, "damaged_run", "runs/x: torn", ""),
     (EnvironmentProblem("no network"), 503, "unavailable", "no network", ""),
     (not_found("no run\x1b[0m"), 404, "not_found", "no run\\x1b[0m", ""),
     (UsageError("x" * 5000), 422, "invalid_request", "x" * 187, "")],
)  # fmt: skip
def test_errors_of_a_job_are_problems(held, error, status, kind, detail, step):
    def work(held, stop):
        raise error

    with served(held) as client:
        add_job(client.app, "/job", work)
        add_reading(client.app, "/read", lambda stop: work(None, stop))
        for answer in (client.post("/job", json={}), client.get("/read")):
            problem = answer.json()
            assert (answer.status_code, problem["type"], problem["next_step"]) == (status, kind, step)
            assert problem["detail"].startswith(detail) and len(problem["detail"]) <= 380
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_defect_is_500_without_a_traceback_and_the_worker_goes_on(held):
    def work(held, stop):
        raise ZeroDivisionError("secret of the request")

    with listening(held) as server, logged("uvicorn.error") as records:
        add_job(server.app, "/defect", work)
        add_job(server.app, "/job", lambda held, stop: 1)
        answer = server.send(request_of("/defect").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b" 500 " in head.split(b"\r\n")[0] and b"application/problem+json" in head and b"nosniff" in head
        assert b"ZeroDivisionError in POST /defect" in body
        assert b"Traceback" not in answer and b"secret" not in answer and b".py" not in answer
        answer = server.send(request_of("/job").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        assert answer.endswith(b"\r\n\r\n1")
    assert [r.exc_info[0] for r in records if r.exc_info] == [ZeroDivisionError]


def test_a_defect_of_a_job_that_was_given_up_is_logged(held):
    def work(held, stop):
        while not stop():
            time.sleep(0.01)
        raise ZeroDivisionError

    with served(held, timeout=0.2) as client, logged("neuron_signatures.server.jobs") as records:
        add_job(client.app, "/job", work)
        assert client.post("/job", json={}).status_code == 504
        wait_until(lambda: not client.app.state.service.busy, SECONDS, "the job has ended")
    assert [r.exc_info[0] for r in records] == [ZeroDivisionError]


@pytest.mark.parametrize("kind", sorted(short_of_memory.ERRORS))
def test_out_of_memory_is_503_and_the_model_stays_usable(held, kind):
    def work(held, stop):
        with torch.no_grad():
            return held.model.hf(torch.tensor([[1, 2, 3]])).logits.shape[1]

    with served(held) as client:
        add_job(client.app, "/job", work)
        with short_of_memory.short_of_memory(held.model.hf, 0, error=short_of_memory.ERRORS[kind]):
            answer = client.post("/job", json={})
        assert (answer.status_code, answer.json()["type"]) == (503, "out_of_memory")
        assert "out of memory" in answer.json()["detail"] and answer.json()["next_step"].startswith(
            "Use a shorter text"
        )
        assert client.get("/v1/health").json()["model"]["state"] == "ready"
        assert client.post("/job", json={}).json() == 3


def test_reading_goes_on_beside_the_model(held):
    with served(held) as client, held_up(client):
        add_reading(client.app, "/read", lambda stop: 1)
        assert client.get("/read").json() == 1
        assert client.get("/v1/health").status_code == 200
