"""The jobs of the server: work on the model in order of arrival, and reading of runs beside it.

A route takes the service as a parameter and passes a function; errors raised in it become problem JSON:

    @router.post("/next_token")
    async def next_token(body: NextTokenRequest, request: Request, service: ServiceDep) -> NextTokenAnswer:
        return await service.run(lambda held, stop: predict(held, body, stop), request)

    @router.get("/runs")
    async def runs(request: Request, service: ServiceDep) -> RunList:
        return await service.read(lambda stop: list_runs(service.settings.runs_root), request)

`app.make_app` includes the routers of `server.routes` below /v1.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from neuron_signatures.api.models import LoadRequest, ModelState
from neuron_signatures.models.batching import Work, memory_faults
from neuron_signatures.runs.errors import EnvironmentProblem
from neuron_signatures.server.held import Held, Stop
from neuron_signatures.server.holder import LOADING_RETRY, Holder
from neuron_signatures.server.jobs import JobQueue
from neuron_signatures.server.memory import forget_frames, free_caches
from neuron_signatures.server.problems import ProblemError, is_out_of_memory_problem, no_model, problem_of, unavailable
from neuron_signatures.server.settings import Settings

T = TypeVar("T")
_READERS = 2
"""Threads that read runs."""
_STOP_SECONDS = 3.0
"""For work that runs when the server stops."""


class Service:
    """The model and the queues of jobs. All methods but `waiting` belong to the event loop's thread."""

    def __init__(self, settings: Settings, held: Held | None = None) -> None:
        self.settings = settings
        self.holder = Holder(settings, held)
        self._model = JobQueue("model", threads=1, most=settings.max_queue, timeout=settings.timeout)
        self._first: asyncio.Task[None] | None = None
        self._reading = JobQueue("reading", threads=_READERS, most=settings.max_queue, timeout=settings.timeout)
        self._embedding = JobQueue("embedding", threads=1, most=settings.max_queue, timeout=settings.timeout)

    @property
    def waiting(self) -> int:
        """Requests that wait for the model, the running one included."""
        return self._model.waiting

    async def run(self, work: Callable[[Held, Stop], T], request: Request) -> T:
        """The result of `work` with the model, or what it raises. One job at a time, in order of arrival.

        `work` runs on the model's thread, and raises `GivenUp` soon after its `Stop` returns True. The messages of the
        request must have been read: take them as parameters of the route. Raises `ProblemError`: 409 without a model,
        503 while one is loaded, if memory runs out and when the server stops, 429 if the queue is full, 504 if the
        time is over.
        """
        self._require_model()
        return await self._model.run(lambda stop: self._with_model(work, stop), request)

    async def read(self, work: Callable[[Stop], T], request: Request) -> T:
        """The result of `work`, which needs no model, such as reading a run; on a thread beside the model's.

        `work` may run on several threads at a time. Raises as `run` does, but for the model.
        """
        return await self._reading.run(work, request)

    async def embed(self, work: Callable[[Stop], T], request: Request) -> T:
        """The result of `work` with the sentence embedder, on its own thread, in order of arrival. Raises as `read`."""
        return await self._embedding.run(work, request)

    async def load(self, wanted: LoadRequest) -> ModelState:
        """Load a model after the jobs that wait, unless it is loaded or being loaded; wait at most its `wait_seconds`.

        A model that cannot be loaded is a state, not an error. Raises `ProblemError`: 403 for a model that is not on
        the server's list, 503 while another one, or this one in another form, is loaded.
        """
        if self.holder.announce(wanted):
            await self._model.run_own(lambda stop: self.holder.load(wanted), wait=wanted.wait_seconds)
        return self.holder.state

    async def unload(self) -> ModelState:
        """Unload the model after the jobs that wait. Raises `ProblemError` 503 while a model is loaded."""
        if self.holder.state.state == "loading":
            raise self._loading()
        self.holder.announce_none()
        await self._model.run_own(lambda stop: self.holder.unload(), wait=self.settings.timeout)
        return self.holder.state

    def start(self, wanted: LoadRequest) -> None:
        """Load the server's own model, announced before. If that fails, `start_failure` says why."""
        self._first = asyncio.create_task(self._load_first(wanted))

    @property
    def start_failure(self) -> BaseException | None:
        """Why the server's own model could not be loaded: a `ProjectError`, or a defect."""
        if self._first is None or not self._first.done() or self._first.cancelled():
            return None
        return self._first.exception()

    def stop(self) -> None:
        """Give up all jobs and take no more."""
        self._model.stop()
        self._reading.stop()
        self._embedding.stop()

    def join(self) -> None:
        """After `stop`: wait some seconds for the jobs that run."""
        self._model.join(_STOP_SECONDS)
        self._reading.join(_STOP_SECONDS)
        self._embedding.join(_STOP_SECONDS)

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        return bool(self._model.waiting or self._reading.waiting or self._embedding.waiting)

    async def _load_first(self, wanted: LoadRequest) -> None:
        with contextlib.suppress(ProblemError):  # the server stops
            await self._model.run_own(lambda stop: self.holder.load(wanted, warn=False), wait=None)
        if self.holder.failure is not None:
            raise self.holder.failure

    def _require_model(self) -> None:
        state = self.holder.state
        if state.state == "loading":
            raise self._loading()
        if state.state == "failed":
            raise no_model(f"loading failed: {state.failure}", next_step="POST /v1/model loads another one")
        if state.state == "none":
            raise no_model("no model is loaded", next_step="POST /v1/model loads one; GET /v1/models lists them")

    def _loading(self) -> Exception:
        what = f"{self.holder.state.model_name} is being loaded"
        return unavailable(what, next_step="Wait; GET /v1/health says when it is ready", retry_after=LOADING_RETRY)

    def _with_model(self, work: Callable[[Held, Stop], T], stop: Stop) -> T:
        """`work` on the model's thread. If memory runs out, all that the job held is freed."""
        held = self.holder.held
        assert held is not None, "jobs run in order, and a model is unloaded by a job"
        smaller = Work("", f"device {held.model.device}", "a shorter text, fewer positions or another device")
        try:
            with memory_faults(smaller):
                return work(held, stop)
        except EnvironmentProblem as e:
            if not is_out_of_memory_problem(e):
                raise
            problem = problem_of(e)
            forget_frames(e)
        free_caches()
        raise problem


def service_of(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


ServiceDep = Annotated[Service, Depends(service_of)]
