"""`Search` finds neurons of a run by words, by written token and by meaning.

It loads no model, takes no lock and writes nothing.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.names import EXPLANATIONS, SETS
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.names import RECORDS, RECORDS_META
from neuron_signatures.runs.results import ANALYSIS, WRITES_META
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.search.contents import contents_of, index_or_none
from neuron_signatures.runs.search.database import limited
from neuron_signatures.runs.search.hits import EVERYWHERE, Contents, Found, Hit, Scope
from neuron_signatures.runs.search.matching import search_scores, search_words
from neuron_signatures.runs.search.names import SEARCH, VECTORS, WRITES_COMMAND
from neuron_signatures.runs.search.query import parse
from neuron_signatures.runs.search.record import SearchRecord
from neuron_signatures.runs.search.texts import (
    Texts,
    checked_file,
    current_texts,
    no_texts,
    read_texts,
    update_command,
)
from neuron_signatures.runs.search.tokens import WrittenTokens
from neuron_signatures.runs.search.vectors import cosines, read_vectors
from neuron_signatures.runs.stage_results import record_name

__all__ = ["EVERYWHERE", "Contents", "Found", "Hit", "Scope", "Search"]

Stamp = tuple[int, int, int] | None
"""Size, time and inode of a file; None if it is not there."""


class _Index(NamedTuple):
    """The index as it was made; None if there is none."""

    found: SearchRecord | None
    texts: Texts


class Search:
    """Search in one run. Everything is read when it is first needed, and kept until it changes on disk. Several threads
    may use it; their searches take turns.

    Without an index, explanations are searched by words and tokens from the run alone. Every method raises
    `BadRunError` for damaged files and `UsageError` for what has not been made, with the command that makes it.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir
        self._lock = threading.RLock()
        self._forget()

    @classmethod
    def open(cls, run: Run | Path | str) -> Search:
        """Of a run, or of the run in a folder. Reads nothing yet."""
        return cls(run.path if isinstance(run, Run) else Path(run))

    def contents(self) -> Contents:
        """What can be searched, from the records alone: cheap enough for every page. Reads them each time."""
        return contents_of(self.path)

    def by_words(self, query: str, scope: Scope = EVERYWHERE) -> Found:
        """Texts that have every word of the query, by BM25; then, if they are fewer than `k`, those that have some.

        `word*` is a beginning of words, `"a phrase"` words in this order, `L3`, `L3N14` and `L3N14-` select rows, and
        so does `set:NAME`. Case and accents are ignored. Exemplars whose peak is at one of the words come before
        others. Raises `UsageError` for a query without a word.
        """
        parsed = parse(query)
        with self._lock:
            texts = self._texts()
            with limited(texts.conn, texts.path):
                return search_words(texts, parsed, scope)

    def by_token(self, query: str, scope: Scope = EVERYWHERE, *, suppressed: bool = False) -> Found:
        """Poles that promote (or suppress) a token. `scope.kinds` is not used.

        ` Austin` and `·Austin` are the same token, and `"Austin"` in quotes is exactly this one. First the token of
        this text, then those that differ in case and spaces around it, then those that contain it; the largest |z|
        first.
        """
        if not query:
            raise UsageError("there is no token to look for", where="query")
        with self._lock:
            return self._tokens().find(query, scope, suppressed=suppressed)

    def by_meaning(self, vector: Float[np.ndarray, " dim"], scope: Scope = EVERYWHERE) -> Found:
        """Texts by the cosine with a vector that `contents().embedder` made; exact. Ties are in order of neuron.

        Raises `UsageError` if the index has no vectors, or vectors of other dimensions.
        """
        with self._lock:
            texts, vectors = self._texts(), self._vectors()
            scores = cosines(vectors, np.asarray(vector))
            with limited(texts.conn, texts.path):
                return search_scores(texts, scores, scope)

    def close(self) -> None:
        """Close the index's files. The next search opens them again."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._index: _Index | None = None
        self._index_stamp: Stamp = None
        self._current: Texts | None = None
        self._source_stamps: dict[str, Stamp] = {}
        self._embedded: np.ndarray | None = None
        self._written: WrittenTokens | None = None
        self._written_stamp: Stamp = None

    def _texts(self) -> Texts:
        """What is current, read again where a file changed."""
        index = self._read_index()
        sources = [f"{EXPLANATIONS}/{name}.jsonl" for name in SETS.names(self.path)]
        stamps = {name: _stamp(self.path, name) for name in [*sources, f"{RECORDS}/{RECORDS_META}"]}
        if self._current is None or stamps != self._source_stamps:
            self._current, self._source_stamps = current_texts(self.path, index.texts, index.found), stamps
        return self._current

    def _read_index(self) -> _Index:
        stamp = _stamp(self.path, f"{SEARCH}/{record_name(SEARCH)}")
        if self._index is None or stamp != self._index_stamp:
            self._current = self._embedded = None
            found = index_or_none(self.path)
            texts = no_texts(self.path) if found is None else read_texts(self.path, found)
            self._index, self._index_stamp = _Index(found, texts), stamp
        return self._index

    def _vectors(self) -> np.ndarray:
        found = self._read_index().found
        embedder = None if found is None else found.facts.embedder
        if found is None or embedder is None:
            what = "there is no index" if found is None else "the index has no vectors"
            next_step = f"Make one with {update_command(self.path)}, with --embedder minilm"
            raise UsageError(f"{what} to search by meaning", where=str(self.path / SEARCH), next_step=next_step)
        if self._embedded is None:
            path = checked_file(self.path, found.record, VECTORS)
            self._embedded = read_vectors(path, found.facts.n_texts, embedder.dimensions)
        return self._embedded

    def _tokens(self) -> WrittenTokens:
        stamp = _stamp(self.path, f"{ANALYSIS}/{WRITES_META}")
        if self._written is None or stamp != self._written_stamp:
            if stamp is None:
                next_step = f"Make them with `{WRITES_COMMAND} --run_dir {self.path}`"
                raise UsageError("there are no write scores to search", where=str(self.path), next_step=next_step)
            self._written, self._written_stamp = WrittenTokens(self.path), stamp
        return self._written


def _stamp(run_dir: Path, name: str) -> Stamp:
    try:
        found = inside(run_dir, name).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino
