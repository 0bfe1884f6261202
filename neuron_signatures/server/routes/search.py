"""POST /runs/{run}/search: neurons by words, by written token and by meaning."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from neuron_signatures.api.search import SearchAnswer, SearchRequest
from neuron_signatures.server.routes.runs import RunName, RunsDep
from neuron_signatures.server.runs.answers import json_answer
from neuron_signatures.server.runs.search_answer import QueryEmbedder, search_run, searched_contents
from neuron_signatures.server.service import ServiceDep

router = APIRouter(tags=["search"])


def query_embedder(request: Request, service: ServiceDep) -> QueryEmbedder:
    """The embedder of this app."""
    state = request.app.state
    if not hasattr(state, "query_embedder"):
        state.query_embedder = QueryEmbedder(service.settings.embedder, service.settings.device)
    found = state.query_embedder
    assert isinstance(found, QueryEmbedder)
    return found


EmbedderDep = Annotated[QueryEmbedder, Depends(query_embedder)]


@router.post("/runs/{run}/search", response_model=SearchAnswer)
async def search(
    run: RunName, body: SearchRequest, request: Request, service: ServiceDep, opened: RunsDep, embedder: EmbedderDep
) -> Response:
    """Explanations and exemplars by words or meaning, or the neurons that promote a token.

    By meaning needs an index with vectors of the server's embedder (422 without). The index itself is made by
    `python -m neuron_signatures.search_neurons index`.
    """
    started, vector = time.perf_counter(), None
    if body.by == "meaning":
        name = service.settings.embedder
        contents = await service.read(lambda stop: opened.read(run, lambda r: searched_contents(r, run, name)), request)
        vector = await service.embed(lambda stop: embedder.vector(body.query, contents), request)
    return await service.read(
        lambda stop: opened.read(run, lambda r: json_answer(search_run(r, run, body, vector, started))), request
    )
