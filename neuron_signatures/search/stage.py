"""`index` from request to files."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from neuron_signatures.runs.arrays import nbytes, write_arrays
from neuron_signatures.runs.errors import EnvironmentProblem
from neuron_signatures.runs.explanations.names import SETS
from neuron_signatures.runs.logs.record import log_digest
from neuron_signatures.runs.names import TMP_PREFIX
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.search.database import add_texts, create, optimise
from neuron_signatures.runs.search.folder import SEARCH_FOLDER
from neuron_signatures.runs.search.names import ROWS, SEARCH, VECTORS, WORDS
from neuron_signatures.runs.search.record import LogRead, SearchFacts
from neuron_signatures.runs.search.rows import Rows, arrays_of
from neuron_signatures.runs.search.vectors import KEY
from neuron_signatures.runs.stage_results import ResultWriter, open_folder
from neuron_signatures.search.collect import Collected, collect
from neuron_signatures.search.embedding import PARTIAL, embed_texts, facts_of, resolve_embedder
from neuron_signatures.search.request import IndexRequest
from neuron_signatures.search.summary import IndexForecast, IndexSummary, forecast_of

if TYPE_CHECKING:
    from neuron_signatures.models.embedding import SentenceEmbedder

log = logging.getLogger(__name__)

_WITHOUT_VECTORS: Final = "nothing is searched by meaning"
_TOLD: Final = 1000
"""Texts between two reports of progress."""


def plan_index(request: IndexRequest) -> IndexForecast:
    """What `make_index` would do; writes nothing."""
    run = Run.open(request.run_dir)
    name, why = resolve_embedder(request.embedder)
    with _records_of(run, request) as records:
        return forecast_of(run, collect(run, records, request), name, why)


def make_index(request: IndexRequest, progress: ProgressOf, embedder: SentenceEmbedder | None = None) -> IndexSummary:
    """Index a run. The earlier index stays until the new one is complete, and its vectors are used again.

    `embedder` is used instead of the model that the request names.
    """
    run, why = Run.open(request.run_dir), ""
    if embedder is None:
        name, why = resolve_embedder(request.embedder)
        embedder = None if name is None else _load(name, request.device)
    with open_folder(run, SEARCH_FOLDER, SEARCH) as writer, _records_of(run, request) as records:
        found = collect(run, records, request)
        warnings = [*found.warnings, *([f"{why}: {_WITHOUT_VECTORS}"] if embedder is None else [])]
        for warning in warnings:
            log.warning("%s", warning)
        with _database(run.path / SEARCH) as path:
            _write_words(path, found, records, progress)
            vectors = None if embedder is None else _vectors(run, path, found.n_texts, embedder, progress, request)
            explanations = found.explanations()
            _write(writer, path, [explanations, found.exemplars], vectors)
        facts = _facts(run, request, found, explanations, embedder)
        writer.finish(settings=request.settings(), facts=facts.model_dump(), sources=found.sources, warnings=warnings)
        ResultsWriter(run.path, SEARCH).remove(PARTIAL)
    return IndexSummary(run.path, facts, tuple(warnings))


def _load(name: str, device: str) -> SentenceEmbedder:
    from neuron_signatures.models.embedding import load_embedder

    return load_embedder(name, device=device)


@contextlib.contextmanager
def _records_of(run: Run, request: IndexRequest) -> Iterator[Records | None]:
    """None if exemplars are not asked for, or there are no records."""
    if "exemplar" not in request.kinds or not Records.exist(run.path):
        yield None
        return
    with Records.open(run) as records:
        yield records


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[Path]:
    """The path of a temporary database, which is removed at the end."""
    path = folder / f"{TMP_PREFIX}-{WORDS}-{secrets.token_hex(6)}"
    try:
        yield path
    except sqlite3.Error as e:
        next_step = "Free some space, or fix the permissions, and run again"
        raise EnvironmentProblem(f"cannot write ({e})", where=str(folder / WORDS), next_step=next_step) from e
    finally:
        path.unlink(missing_ok=True)


def _write_words(path: Path, found: Collected, records: Records | None, progress: ProgressOf) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode=OFF")  # a database that is not finished is thrown away
        conn.execute("PRAGMA synchronous=OFF")
        create(conn)
        conn.execute("BEGIN")
        with progress("text", found.n_texts) as bar:
            add_texts(conn, _counted(found.texts(records), bar.advance))
        optimise(conn)
        conn.execute("COMMIT")


def _counted(texts: Iterator[tuple[int, str]], advance: Callable[[int], None]) -> Iterator[tuple[int, str]]:
    for i, text in enumerate(texts, start=1):
        yield text
        if i % _TOLD == 0:
            advance(_TOLD)


def _vectors(
    run: Run, path: Path, n: int, embedder: SentenceEmbedder, progress: ProgressOf, request: IndexRequest
) -> np.ndarray:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as conn:
        return embed_texts(run, conn, n, embedder, progress, batch_size=request.batch_size)


def _write(writer: ResultWriter, words: Path, rows: list[Rows], vectors: np.ndarray | None) -> None:
    """The files of the index. The earlier one ends with the first of them."""
    with words.open("rb") as source, writer.files.file(WORDS, needed=words.stat().st_size) as f:
        shutil.copyfileobj(source, f, 1 << 20)
    arrays = {name: array for table in rows for name, array in arrays_of(table).items()}
    with writer.files.file(ROWS, needed=nbytes(arrays)) as f:
        write_arrays(f, arrays)
    if vectors is None:
        writer.files.remove(VECTORS)
        return
    with writer.files.file(VECTORS, needed=vectors.nbytes) as f:
        write_arrays(f, {KEY: vectors})


def _facts(
    run: Run, request: IndexRequest, found: Collected, explanations: Rows, embedder: SentenceEmbedder | None
) -> SearchFacts:
    counts = found.explained.counts
    logs = {
        name: LogRead(n_bytes=end, sha256=log_digest(SETS, run.path, name, end), n=counts[name])
        for name, end in found.explained.ends.items()
    }
    return SearchFacts(
        kinds=list(request.kinds), layers=found.layers,
        n_texts=found.n_texts, n_explanations=explanations.n, n_exemplars=found.exemplars.n, sets=found.sets,
        explainers=found.explainers, logs=logs, embedder=None if embedder is None else facts_of(embedder),
    )  # fmt: skip
