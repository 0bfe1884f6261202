"""GET /models, POST /model and DELETE /model."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from neuron_signatures.api.models import LoadRequest, ModelList, ModelState
from neuron_signatures.server.known import known_models
from neuron_signatures.server.service import ServiceDep

router = APIRouter(tags=["models"])


@router.get("/models")
async def models(request: Request, service: ServiceDep) -> ModelList:
    """The models that the server loads, and the present one."""
    state = service.holder.state
    listed = await service.read(lambda stop: known_models(service.holder.names(), service.settings, state), request)
    return ModelList(current=state, models=listed)


@router.post("/model", responses={202: {"model": ModelState, "description": "It is being loaded"}})
async def load(body: LoadRequest, response: Response, service: ServiceDep) -> ModelState:
    """Load a model instead of the present one, after the requests that wait. 202 while it loads.

    A model that cannot be loaded is the state failed, with the reason.
    """
    state = await service.load(body)
    response.status_code = 202 if state.state == "loading" else 200
    return state


@router.delete("/model")
async def unload(service: ServiceDep) -> ModelState:
    """Unload the model, after the requests that wait, and give its memory back."""
    return await service.unload()
