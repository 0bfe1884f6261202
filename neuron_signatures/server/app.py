"""The FastAPI app: the routers of `server.routes` below /v1, behind the rules of `server.security` and `server.bodies`.

    app = make_app(Settings(model_name="demo", runs_root=Path("runs")))         # loads the model when it starts
    app = make_app(settings, held)                                              # has a model, for tests

In tests without a socket: `TestClient(app, base_url="http://localhost")`, within `with`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fastapi import FastAPI

from neuron_signatures.api.models import LoadRequest
from neuron_signatures.api.problem import MEDIA_TYPE, Problem
from neuron_signatures.server.bodies import Bodies
from neuron_signatures.server.held import Held
from neuron_signatures.server.problems import add_problem_handlers
from neuron_signatures.server.routes import live, models, runs, search, status
from neuron_signatures.server.security import Security
from neuron_signatures.server.service import Service
from neuron_signatures.server.settings import Settings

PREFIX: Final = "/v1"
_STATUSES: Final = (400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503, 504)


def make_app(settings: Settings, held: Held | None = None) -> FastAPI:
    """The app. `settings.model_name` is loaded when it starts, unless there is a model already (`held`).

    Raises `UsageError` for a `model_revision` that is none.
    """
    service = Service(settings, held)
    first = _first_request(settings) if settings.model_name is not None and held is None else None
    if first is not None:
        service.holder.announce(first)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if first is not None:
            service.start(first)
        yield
        service.stop()
        await asyncio.to_thread(service.join)

    app = FastAPI(
        title="neuron-signatures", version=package_version(), summary="MLP neurons of a live model, and of runs",
        openapi_url=f"{PREFIX}/openapi.json", docs_url=None, redoc_url=None, redirect_slashes=False,
        lifespan=lifespan, responses=_problems(),
    )  # fmt: skip
    app.state.service = service
    add_problem_handlers(app)
    app.add_middleware(Bodies, settings=settings)
    app.add_middleware(Security, settings=settings)  # the last one added comes first
    for module in (status, models, live, runs, search):
        app.include_router(module.router, prefix=PREFIX)
    return app


def _first_request(settings: Settings) -> LoadRequest:
    """The load of the model that the flags name."""
    assert settings.model_name is not None
    return LoadRequest(
        model_name=settings.model_name, model_revision=settings.model_revision, model_dtype=settings.model_dtype,
        quantization=settings.quantization,
    )  # fmt: skip


def package_version() -> str:
    try:
        return version("neuron-signatures")
    except PackageNotFoundError:  # a checkout that is not installed
        return "unknown"


def _problems() -> dict[int | str, dict[str, Any]]:
    """The errors in the OpenAPI schema."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"model": Problem, "content": content} for status in _STATUSES}
