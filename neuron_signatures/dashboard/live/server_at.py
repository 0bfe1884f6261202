"""Where the server of the views Live, Search and Circuit is, and what they ask it. Imports no network library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

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
)
from neuron_signatures.api.models import Health, LoadRequest, Memory, ModelList, ModelState
from neuron_signatures.api.runs import RunFacts, RunList
from neuron_signatures.api.search import SearchAnswer, SearchRequest
from neuron_signatures.dashboard.live.address import DEFAULT_URL

QUICK, PATIENT = 5.0, 300.0
"""Seconds for an answer about the server, and for one of its model, the wait in the queue included."""
_CONNECT_SECONDS = 0.8


class LiveClient(Protocol):
    """The part of `client.Client` that the views use. Every method raises `ServerProblem`."""

    def health(self) -> Health: ...
    def models(self) -> ModelList: ...
    def memory(self) -> Memory: ...
    def load_model(self, request: LoadRequest, /, *, wait: bool) -> ModelState: ...
    def unload_model(self) -> ModelState: ...
    def runs(self) -> RunList: ...
    def run(self, run: str, /) -> RunFacts: ...
    def search(self, run: str, request: SearchRequest, /) -> SearchAnswer: ...
    def next_token(self, request: NextTokenRequest, /) -> NextTokenAnswer: ...
    def activations(self, request: ActivationsRequest, /) -> ActivationsAnswer: ...
    def influence(self, request: InfluenceRequest, /) -> InfluenceAnswer: ...
    def intervene(self, request: InterveneRequest, /) -> InterveneAnswer: ...
    def generate(self, request: GenerateRequest, /) -> GenerateAnswer: ...


def connect(url: str, seconds: float) -> LiveClient:
    """The client of the server at `url`, with the token of the environment. Raises `UsageError` for a wrong address.

    An answer may take `seconds`.
    """
    from neuron_signatures.client import Client

    return Client(url, timeout=seconds, retries=1, connect_seconds=_CONNECT_SECONDS)


@dataclass(frozen=True)
class ServerAt:
    """The address of a server. `connect` makes its clients; tests give their own."""

    url: str = DEFAULT_URL
    connect: Callable[[str, float], LiveClient] = field(default=connect, repr=False)
