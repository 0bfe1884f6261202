"""POST /tokens, /activations, /activations/tensor, /next_token, /influence, /intervene, /generate: the loaded model."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from neuron_signatures.api.live import (
    ActivationsAnswer,
    ActivationsRequest,
    GenerateAnswer,
    GenerateRequest,
    InfluenceAnswer,
    InfluenceRequest,
    InterveneAnswer,
    InterveneRequest,
    NextTokenAnswer,
    NextTokenRequest,
    TextRequest,
    TokensAnswer,
)
from neuron_signatures.server.live import activations, generate, influence, intervene, predictions, tokens
from neuron_signatures.server.service import ServiceDep

router = APIRouter(tags=["live"])
_BYTES = "application/octet-stream"
_TENSORS = {"content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}, "description": "safetensors"}


@router.post("/tokens")
async def post_tokens(body: TextRequest, request: Request, service: ServiceDep) -> TokensAnswer:
    """The tokens of a text as the model reads it."""
    return await service.run(lambda held, stop: tokens.tokens(held, body, stop), request)


@router.post("/activations")
async def post_activations(body: ActivationsRequest, request: Request, service: ServiceDep) -> ActivationsAnswer:
    """Activations of chosen neurons at all positions, and the strongest neurons by position."""
    return await service.run(lambda held, stop: activations.activations(held, body, stop), request)


@router.post("/activations/tensor", response_class=Response, responses={200: _TENSORS})
async def post_tensor(body: ActivationsRequest, request: Request, service: ServiceDep) -> Response:
    """Whole layers in a safetensors file: `L{layer}` [pos neuron], float32."""
    content = await service.run(lambda held, stop: activations.activations_tensor(held, body, stop), request)
    return Response(content, media_type=_BYTES)


@router.post("/next_token")
async def post_next_token(body: NextTokenRequest, request: Request, service: ServiceDep) -> NextTokenAnswer:
    """The model's prediction after one position."""
    return await service.run(lambda held, stop: predictions.next_token(held, body, stop), request)


@router.post("/influence")
async def post_influence(body: InfluenceRequest, request: Request, service: ServiceDep) -> InfluenceAnswer:
    """The neurons with the largest influence on a target."""
    return await service.run(lambda held, stop: influence.influence_of(held, body, stop), request)


@router.post("/intervene")
async def post_intervene(body: InterveneRequest, request: Request, service: ServiceDep) -> InterveneAnswer:
    """The prediction with and without edits, and what the same edits of random neurons do."""
    return await service.run(lambda held, stop: intervene.intervene(held, body, stop), request)


@router.post("/generate")
async def post_generate(body: GenerateRequest, request: Request, service: ServiceDep) -> GenerateAnswer:
    """The text goes on, with and without edits."""
    return await service.run(lambda held, stop: generate.generate(held, body, stop), request)
