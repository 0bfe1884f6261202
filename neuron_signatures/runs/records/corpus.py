"""The corpus of a run's records: its tokens, windows and documents, read on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.names import CORPUS, CORPUS_META, DOCUMENTS, PARTS, RECORDS, VOCABULARY, Part
from neuron_signatures.runs.records.stage_meta import check_sizes, read_meta
from neuron_signatures.runs.tables import read_arrow


@dataclass(frozen=True)
class DocumentRow:
    """A document of the corpus."""

    name: str
    sha256: str
    part: Part
    first_window: int
    n_windows: int
    first_token: int
    n_tokens: int


class Corpus:
    """An open corpus."""

    def __init__(self, run_dir: Path, meta: CorpusMeta) -> None:
        self.meta = meta
        self.n_windows = meta.n_windows
        self._file = ArrayFile(inside(run_dir, f"{RECORDS}/{CORPUS}"))
        self.window_start = self._file.read("window_start")
        self.window_length = self._file.read("window_length")
        self.window_counted_from = self._file.read("window_counted_from")
        self.window_document = self._file.read("window_document")
        self._documents = read_arrow(run_dir, f"{DOCUMENTS}")
        self._vocabulary: dict[int, str] | None = None
        self._run_dir = run_dir
        codes = {p: i for i, p in enumerate(PARTS)}
        self.document_part = np.array([codes[p] for p in self._documents["part"].to_pylist()], np.uint8)

    @classmethod
    def open(cls, run_dir: Path) -> Corpus:
        meta = read_meta(run_dir, CORPUS_META, CorpusMeta)
        check_sizes(run_dir, meta)
        return cls(run_dir, meta)

    def close(self) -> None:
        self._file.close()

    def part_of(self, window: int) -> Part:
        return PARTS[int(self.document_part[self.window_document[window]])]

    def token_ids(self, window: int) -> np.ndarray:
        start = int(self.window_start[window])
        return self.tokens_between(start, start + int(self.window_length[window]))

    def tokens_between(self, start: int, stop: int) -> np.ndarray:
        return self._file.rows("tokens", start, stop)

    def strings(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        if self._vocabulary is None:
            table = read_arrow(self._run_dir, VOCABULARY)
            columns = (table[c].to_pylist() for c in ("token_id", "token"))
            self._vocabulary = dict(zip(*columns, strict=True))
        try:
            return [self._vocabulary[int(i)] for i in ids]
        except KeyError as e:
            raise BadRunError(f"token {e} is not in the vocabulary", where=str(self._file.path)) from e

    def document(self, document: int) -> DocumentRow:
        row = self._documents.slice(document, 1).to_pylist()[0]
        return DocumentRow(**row)
