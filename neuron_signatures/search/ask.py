"""Asking by meaning: the query is embedded by the model with which the texts were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from neuron_signatures.models.packaged import MINILM
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.search.hits import Contents, Embedder
from neuron_signatures.search.embedding import identity, same_model

if TYPE_CHECKING:
    from neuron_signatures.models.embedding import SentenceEmbedder


def embedder_for(contents: Contents, name: str | None, *, device: str) -> SentenceEmbedder:
    """The model with which a run was indexed, loaded: MiniLM, or the one that `name` names.

    A run can come from a stranger, so a folder or a name on the Hub that it names is not loaded. Raises `UsageError`
    if the index has no vectors, if it needs another model than MiniLM and `name` is None, or if it was made with
    another model.
    """
    from neuron_signatures.models.embedding import load_embedder

    model = needed(contents)
    if name is None and model.name != MINILM.name:
        next_step = "Give --embedder, if you trust it"
        raise UsageError(f"the index was made with the model {model.name!r}", where="--embedder", next_step=next_step)
    embedder = load_embedder(name or MINILM.name, device=device)
    check_model(contents, embedder)
    return embedder


def needed(contents: Contents) -> Embedder:
    """The model that a query must be embedded by. Raises `UsageError` if the run is not indexed by meaning."""
    if contents.embedder is None:
        what = "the index has no vectors" if contents.has_index else "there is no index"
        note = next((n for n in contents.notes if "index" in n), "Make one with --embedder minilm")
        next_step = note.rpartition("; ")[2]  # what is missing stands before the command
        raise UsageError(f"{what} to search by meaning", next_step=next_step)
    return contents.embedder


def check_model(contents: Contents, embedder: SentenceEmbedder) -> None:
    """Raise `UsageError` if the index was not made with this model."""
    model, own = needed(contents), identity(embedder)
    if not same_model(model, own):
        what = f"the index was made with {_name(model)}, the query would be embedded by {_name(own)}"
        raise UsageError(what, next_step="Give the embedder of the index, or make the index again")


def embed_query(embedder: SentenceEmbedder, query: str) -> Float32[np.ndarray, " dim"]:
    """The unit vector of a query. Raises `UsageError` for an empty query."""
    if not query.strip():
        raise UsageError("there is nothing to look for", where="query")
    found: np.ndarray = embedder.embed([query])[0]
    return found


def _name(model: Embedder) -> str:
    exact = model.fingerprint or model.revision
    return f"{model.name}, {exact[:19]}" if exact else model.name
