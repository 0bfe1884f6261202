"""Search by meaning in a run that a server holds too: the server embeds the query, which viewers cannot."""

from __future__ import annotations

import time
from typing import Final, Protocol

from neuron_signatures.api import search as api
from neuron_signatures.api.base import MAX_LISTED
from neuron_signatures.api.runs import RunFacts
from neuron_signatures.client.problem import ServerProblem
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.search.hits import Hit
from neuron_signatures.runs.search.names import KINDS
from neuron_signatures.views.search_run.asked import Answer, Asked

_COMPARED: Final = (
    "created_at_utc", "model_name", "model_revision", "weights_fingerprint", "layers", "d_mlp", "hook_name",
    "save_dtype", "seed", "n_prompts", "n_tokens",
)  # fmt: skip
"""Fields of the manifest that a copy of a run shares; two dumps differ at least in the time."""


class SearchServer(Protocol):
    """The part of `Client` that is used. Both methods raise `ServerProblem`."""

    def run(self, name: str, /) -> RunFacts: ...
    def search(self, run: str, request: api.SearchRequest, /) -> api.SearchAnswer: ...


class OtherRunError(UsageError):
    """The server does not hold the run, or another one of the same name."""


def by_meaning(server: SearchServer, name: str, manifest: Manifest, asked: Asked) -> Answer:
    """What the server finds in its copy of the run; `name` is the folder's. Unless one kind is chosen, the server looks
    in those that are usual by meaning.

    Raises `OtherRunError` if it has no copy of it, and `ServerProblem`.
    """
    begun = time.perf_counter()
    check_same_run(server, name, manifest)
    kinds = None if asked.kinds == KINDS else asked.kinds
    request = api.SearchRequest(
        query=asked.query, by="meaning", kinds=kinds, layers=list(asked.layers) or None, top_k=min(asked.k, MAX_LISTED)
    )
    found = server.search(name, request)
    return Answer([_hit(h) for h in found.hits], tuple(found.notes), time.perf_counter() - begun)


def check_same_run(server: SearchServer, name: str, manifest: Manifest) -> None:
    """Raise `OtherRunError` unless the server's run of this name is this one, or a copy of it."""
    try:
        facts = server.run(name)
    except ServerProblem as e:
        if e.type != "not_found":
            raise
        raise OtherRunError(f"the server has no run {name!r}") from e
    ours = {key: getattr(manifest, key) for key in _COMPARED}
    theirs = {key: getattr(facts, key) for key in _COMPARED}
    differing = [key for key in _COMPARED if ours[key] != theirs[key]]
    if differing:
        raise OtherRunError(f"the server's run {name!r} is another one: {', '.join(differing)} differ")


def _hit(h: api.Hit) -> Hit:
    own = {name: getattr(h, name) for name in Hit._fields if name != "at"}
    return Hit(NeuronPole(h.layer, h.neuron, h.pole), **own)
