"""GET /health and GET /memory."""

from __future__ import annotations

from fastapi import APIRouter, Request

from neuron_signatures.api.models import Health, Memory
from neuron_signatures.runs.versions import now_utc
from neuron_signatures.server import memory
from neuron_signatures.server.service import ServiceDep

router = APIRouter(tags=["status"])
_STARTED = now_utc()


@router.get("/health")
async def health(request: Request, service: ServiceDep) -> Health:
    """Whether the server answers, and the state of its model."""
    return Health(version=request.app.version, started_at_utc=_STARTED, model=service.holder.state)


@router.get("/memory")
async def read_memory(service: ServiceDep) -> Memory:
    """The memory of the GPUs and of the machine, and how many requests wait; answered also if the queue is full."""
    facts = service.holder.state.facts
    weights = facts.weights_bytes if facts is not None else 0
    return Memory(devices=memory.gpus(), ram=memory.ram(), weights_bytes=weights, queue=service.waiting)
