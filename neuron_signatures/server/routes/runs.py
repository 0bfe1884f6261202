"""GET /runs and below: what run folders say, without a model. Nothing is written."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as InPath

from neuron_signatures.api.base import MAX_LISTED
from neuron_signatures.api.neuron_page import NeuronPage
from neuron_signatures.api.runs import ExplanationList, RunFacts, RunList
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.server.runs.answers import json_answer
from neuron_signatures.server.runs.explanation_list import list_explanations
from neuron_signatures.server.runs.neuron_page import neuron_page
from neuron_signatures.server.runs.opened import OpenRuns
from neuron_signatures.server.runs.run_facts import list_runs, run_facts
from neuron_signatures.server.service import ServiceDep
from neuron_signatures.views.coords import NeuronAt

MOST_OFFSET = 10_000_000


def refuse_unknown_parameters(request: Request) -> None:
    """Refuse `?word=` where `?words=` is meant: ignored, it would look as if everything had been found."""
    known = [p.alias for p in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            step = f"It has {', '.join(known)}" if known else "Leave it out"
            raise UsageError("this path has no such parameter", where=name[:40], next_step=step)


router = APIRouter(tags=["runs"], dependencies=[Depends(refuse_unknown_parameters)])


def open_runs(request: Request, service: ServiceDep) -> OpenRuns:
    """The opened runs of this app."""
    state = request.app.state
    if not hasattr(state, "open_runs"):
        state.open_runs = OpenRuns(service.settings.runs_root)
    found = state.open_runs
    assert isinstance(found, OpenRuns)
    return found


RunsDep = Annotated[OpenRuns, Depends(open_runs)]
RunName = Annotated[str, InPath(max_length=500)]
Limit = Annotated[int, Query(ge=1, le=MAX_LISTED)]
Offset = Annotated[int, Query(ge=0, le=MOST_OFFSET)]


@router.get("/runs", response_model=RunList)
async def runs(
    request: Request, service: ServiceDep, opened: RunsDep, limit: Limit = 100, offset: Offset = 0
) -> Response:
    """The runs of the server's folder by name, broken ones too."""
    return await service.read(lambda stop: json_answer(list_runs(opened.root, offset, limit, stop)), request)


@router.get("/runs/{run}", response_model=RunFacts)
async def run_details(run: RunName, request: Request, service: ServiceDep, opened: RunsDep) -> Response:
    """What the manifest says, and which stages are done."""
    return await service.read(lambda stop: opened.read(run, lambda r: json_answer(run_facts(r))), request)


@router.get("/runs/{run}/neurons/{layer}/{neuron}", response_model=NeuronPage)
async def neuron(
    run: RunName,
    layer: Annotated[int, InPath(ge=0, lt=100_000)],
    neuron: Annotated[int, InPath(ge=0, lt=2**31)],
    request: Request,
    service: ServiceDep,
    opened: RunsDep,
    texts: Annotated[int, Query(ge=0, le=100)] = 20,
) -> Response:
    """One neuron in the shape of Neuronpedia's feature API, with at most `texts` texts of each pole."""
    at = NeuronAt(layer, neuron)
    return await service.read(
        lambda stop: opened.read(run, lambda r: json_answer(neuron_page(r, at, n_texts=texts, stop=stop))), request
    )


@router.get("/runs/{run}/explanations", response_model=ExplanationList)
async def explanations(
    run: RunName,
    request: Request,
    service: ServiceDep,
    opened: RunsDep,
    words: Annotated[str, Query(max_length=1000)] = "",
    set_name: Annotated[str | None, Query(alias="set", max_length=200)] = None,
    layer: Annotated[int | None, Query(ge=0, lt=100_000)] = None,
    current: bool | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Explanations that have all `words` (or `L3`, `L3N508`, `L3N508+`), by layer, neuron, pole and set."""
    return await service.read(
        lambda stop: opened.read(
            run,
            lambda r: json_answer(
                list_explanations(
                    r, words=words, set_name=set_name, layer=layer, current=current, offset=offset, limit=limit
                )
            ),
        ),
        request,
    )
