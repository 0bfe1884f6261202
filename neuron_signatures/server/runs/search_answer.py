"""Search in a run, and the embedder of the queries by meaning."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from neuron_signatures.api.search import Hit as HitAnswer
from neuron_signatures.api.search import SearchAnswer, SearchRequest
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.search.hits import Contents, Found, Hit, Scope, usual_kinds
from neuron_signatures.search.ask import check_model, embed_query, needed
from neuron_signatures.server.runs.opened import OpenedRun
from neuron_signatures.server.settings import Embedder

if TYPE_CHECKING:
    from neuron_signatures.models.embedding import SentenceEmbedder


class QueryEmbedder:
    """The embedder of the queries, loaded at the first one. For one thread."""

    def __init__(self, name: Embedder, device: str) -> None:
        self._name, self._device = name, device
        self._model: SentenceEmbedder | None = None

    def vector(self, query: str, contents: Contents) -> Float32[np.ndarray, " dim"]:
        """Of a query to a run with these contents.

        Raises `UsageError` if the run was indexed with another model, `EnvironmentProblem` if the model cannot be had.
        """
        if self._model is None:
            self._model = load_model(self._name, self._device)
        check_model(contents, self._model)
        return embed_query(self._model, query)


def load_model(name: Embedder, device: str) -> SentenceEmbedder:
    """The embedder of the server's settings."""
    from neuron_signatures.models.embedding import load_embedder

    return load_embedder(name, device=device)


def searched_contents(run: OpenedRun, name: str, embedder: Embedder) -> Contents:
    """What of the run is indexed by meaning. Raises `UsageError` if nothing is, or the server embeds no queries."""
    if embedder == "none":
        what = "this server searches by words and token only"
        raise UsageError(what, next_step="Start it with --embedder minilm, or search by words")
    with _named(run.path, name):
        contents = run.search.contents()
        needed(contents)
        return contents


def search_run(
    run: OpenedRun, name: str, body: SearchRequest, vector: Float32[np.ndarray, " dim"] | None, started: float
) -> SearchAnswer:
    """The hits of a request. `vector` is that of a query by meaning; `started` is when the request came."""
    kinds = body.kinds or usual_kinds(body.by, run.search.contents())
    scope = Scope(kinds, None if body.layers is None else tuple(body.layers), body.top_k, body.per_text)
    with _named(run.path, name):
        if vector is not None:
            found = run.search.by_meaning(vector, scope)
        elif body.by == "token":
            found = run.search.by_token(body.query, scope, suppressed=body.suppressed)
        else:
            found = run.search.by_words(body.query, scope)
    return _answer(found, run.path, name, time.perf_counter() - started)


def _answer(found: Found, path: Path, name: str, seconds: float) -> SearchAnswer:
    notes = [_without_path(note, path, name) for note in found.notes]
    return SearchAnswer(hits=[_hit(hit) for hit in found.hits], notes=notes, seconds=round(seconds, 4))


def _hit(hit: Hit) -> HitAnswer:
    own = {key: value for key, value in hit._asdict().items() if key != "at"}
    return HitAnswer(layer=hit.at.layer, neuron=hit.at.neuron, pole=hit.at.pole, **own)


def _without_path(text: str, path: Path, name: str) -> str:
    """The run's name for its path, in commands below RUNS_ROOT."""
    return text.replace(f"--run_dir {path}", f"--run_dir RUNS_ROOT/{name}").replace(str(path), name)


@contextlib.contextmanager
def _named(path: Path, name: str) -> Iterator[None]:
    """Name the run in errors of requests instead of its path on this machine."""
    try:
        yield
    except UsageError as e:
        where, what, step = (_without_path(text, path, name) for text in (e.where, e.what, e.next_step))
        raise UsageError(what, where=where, next_step=step) from e
