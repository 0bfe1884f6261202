"""Embedding texts: by which model, and what was embedded before."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import Float16

from neuron_signatures.models.packaged import INSTALL, MINILM, find_packaged
from neuron_signatures.runs.errors import EnvironmentProblem, ProjectError, UsageError
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.results import ResultsWriter, partial_name
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.search.contents import embedder_of, index_or_none
from neuron_signatures.runs.search.database import open_untrusted
from neuron_signatures.runs.search.hits import Embedder
from neuron_signatures.runs.search.names import SEARCH, VECTORS, WORDS
from neuron_signatures.runs.search.record import EmbedderFacts
from neuron_signatures.runs.search.texts import checked_file
from neuron_signatures.runs.search.vectors import STORED, read_vectors
from neuron_signatures.search.request import AUTO, NONE

if TYPE_CHECKING:
    from neuron_signatures.models.embedding import SentenceEmbedder

log = logging.getLogger(__name__)

PARTIAL: Final = partial_name("vectors")
_AT_ONCE: Final = 1024


def resolve_embedder(name: str) -> tuple[str | None, str]:
    """The model that a flag means, None for none, and why there is none. `auto` is MiniLM where its package is
    installed."""
    if name != AUTO:
        return (None, "--embedder none") if name == NONE else (name, "")
    if find_spec("torch") is None:
        return None, "torch is not installed"
    try:
        find_packaged(MINILM)
    except EnvironmentProblem as e:
        return None, f"{e.what}; {INSTALL}"
    return MINILM.name, ""


def identity(embedder: SentenceEmbedder) -> Embedder:
    """What distinguishes it from other models."""
    revision = getattr(embedder.model.config, "_commit_hash", None) if embedder.fingerprint is None else None
    return Embedder(embedder.name, embedder.fingerprint, revision, embedder.dimensions)


def facts_of(embedder: SentenceEmbedder) -> EmbedderFacts:
    """For the record."""
    return EmbedderFacts(**identity(embedder)._asdict(), max_tokens=embedder.max_tokens)


def same_model(a: Embedder, b: Embedder) -> bool:
    """Whether vectors of the two can be compared: the same weights, wherever they are."""
    if a.fingerprint is not None and b.fingerprint is not None:
        return a.fingerprint == b.fingerprint
    return (a.name, a.revision, a.dimensions) == (b.name, b.revision, b.dimensions)


def embed_texts(
    run: Run, conn: sqlite3.Connection, n: int, embedder: SentenceEmbedder, progress: ProgressOf, *, batch_size: int
) -> Float16[np.ndarray, "text dim"]:
    """The vectors of the texts 0 to n - 1. Those that an earlier index or a stopped command embedded are kept.

    What is done is written when the command is stopped, and the same command goes on from there.
    """
    settings: dict[str, Any] = {"embedder": list(identity(embedder)), "texts": _digest(conn)}
    partial = Partial(ResultsWriter(run.path, SEARCH), PARTIAL, settings)
    vectors, done = _stored(partial, n, embedder.dimensions)
    _take_earlier(run, conn, embedder, vectors, done)
    left = np.flatnonzero(~done)

    def arrays() -> dict[str, np.ndarray]:
        return {"vectors": vectors, "done": done} if done.any() else {}

    with progress("text", n) as bar, partial.save_on_error(arrays):
        bar.skip(n - len(left))
        for start in range(0, len(left), _AT_ONCE):
            ids = left[start : start + _AT_ONCE]
            texts = [
                conn.execute("SELECT content FROM text WHERE id = ?", (id_,)).fetchone()[0] for id_ in ids.tolist()
            ]
            vectors[ids] = embedder.embed(texts, batch_size=batch_size)
            done[ids] = True
            bar.advance(len(ids))
            partial.save(arrays())
    return vectors


def _stored(partial: Partial, n: int, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """What a stopped command embedded: vectors, and whether each is done."""
    blank = {"vectors": np.zeros((n, dimensions), STORED), "done": np.zeros(n, bool)}
    try:
        found = partial.load(max_bytes=2 * sum(a.nbytes for a in blank.values()) + (1 << 20), like=blank) or blank
    except UsageError:
        log.info("the vectors of a stopped command are not used: its texts or its model were others")
        found = blank
    return found["vectors"], found["done"]


def _take_earlier(
    run: Run, conn: sqlite3.Connection, embedder: SentenceEmbedder, vectors: np.ndarray, done: np.ndarray
) -> None:
    """Take the vectors of texts that the index in the run has already, if it is whole and of the same model."""
    try:
        earlier = index_or_none(run.path)
        model = None if earlier is None else embedder_of(earlier.facts.embedder)
        if earlier is None or model is None or not same_model(model, identity(embedder)):
            return
        path = checked_file(run.path, earlier.record, VECTORS)
        old = read_vectors(path, earlier.facts.n_texts, embedder.dimensions)
        old_conn = open_untrusted(checked_file(run.path, earlier.record, WORDS))
    except ProjectError as e:
        log.warning("the vectors of the earlier index are not used: %s", e.line())
        return
    try:
        known = {_key(text): id_ for id_, text in _all(old_conn) if 0 <= id_ < len(old)}
    finally:
        old_conn.close()
    for id_, text in _all(conn):
        if not done[id_] and (place := known.get(_key(text))) is not None:
            vectors[id_], done[id_] = old[place], True


def _all(conn: sqlite3.Connection) -> Iterator[tuple[int, str]]:
    yield from conn.execute("SELECT id, content FROM text ORDER BY id")


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


def _digest(conn: sqlite3.Connection) -> str:
    """Of all texts and their ids."""
    digest = hashlib.sha256()
    for id_, text in _all(conn):
        digest.update(b"%d\0" % id_ + _key(text))
    return digest.hexdigest()
