"""The corpus of a run's records: its windows, documents and tokens, read on demand and without torch.

Opening reads the window arrays and the numbers of the documents, about 20 bytes per window and 25 per document; tokens,
names and strings are read when they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.corpus_files import ROWS_PER_GROUP, CorpusArrays, DocumentRow, document_types
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.names import CORPUS, CORPUS_META, DOCUMENTS, PARTS, RECORDS, VOCABULARY, Part
from neuron_signatures.runs.records.parquet_parts import ParquetParts
from neuron_signatures.runs.records.stage_meta import AGAIN, check_sizes, read_meta
from neuron_signatures.runs.results import table_name

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBERS = ("first_window", "n_windows", "first_token", "n_tokens")
_MAX_VOCABULARY = 1 << 24


class Corpus:
    """An open corpus; `open` is the way to get one. `close` it at the end.

    `window_start` (into the tokens of the corpus), `window_length`, `window_counted_from` and `window_document` have
    one entry per window; `document_part` has the index in PARTS of each document.
    """

    def __init__(self, run_dir: Path, meta: CorpusMeta) -> None:
        folder = inside(run_dir, RECORDS)
        self.meta = meta
        self.n_windows = meta.n_windows
        self._file = ArrayFile(folder / CORPUS)
        self._parts: ParquetParts | None = None
        self._vocabulary_path = folder / table_name(VOCABULARY)
        self._vocabulary: dict[int, str] | None = None
        try:
            _check_arrays(self._file, meta)
            self.window_start = self._file.read("window_start")
            self.window_length = self._file.read("window_length")
            self.window_counted_from = self._file.read("window_counted_from")
            self.window_document = self._file.read("window_document")
            self._parts = ParquetParts(
                folder / table_name(DOCUMENTS), document_types(), n_rows=meta.n_documents, group_rows=ROWS_PER_GROUP
            )
            self._load_documents(self._parts)
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, run_dir: Path) -> Corpus:
        """The corpus of a run.

        Raises `UsageError` if there is none, `BadRunError` if its files are damaged or contradict each other.
        """
        meta = read_meta(run_dir, CORPUS_META, CorpusMeta)
        check_sizes(run_dir, meta)
        return cls(run_dir, meta)

    def __enter__(self) -> Corpus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        if self._parts is not None:
            self._parts.close()

    def part_of(self, window: int) -> Part:
        return PARTS[int(self.document_part[self.window_document[window]])]

    def token_ids(self, window: int) -> np.ndarray:
        """The text tokens of a window, int32."""
        start = int(self.window_start[window])
        return self.tokens_between(start, start + int(self.window_length[window]))

    def tokens_between(self, start: int, stop: int) -> np.ndarray:
        """Tokens of the whole corpus, int32."""
        return self._file.rows("tokens", start, stop)

    def strings(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """The raw strings of token ids. Raises `BadRunError` for an id that the vocabulary does not have."""
        if self._vocabulary is None:
            self._vocabulary = self._load_vocabulary()
        try:
            return [self._vocabulary[int(i)] for i in ids]
        except KeyError as e:
            raise _bad(self._vocabulary_path, f"token {e} of the corpus is not in the vocabulary") from e

    def document(self, document: int) -> DocumentRow:
        assert self._parts is not None
        row = self._parts.row(document)
        return DocumentRow(**row)

    def _load_documents(self, table: ParquetParts) -> None:
        """Read parts and numbers of all documents, and check them against the windows."""
        codes = np.concatenate([_part_codes(a, table.path) for a in table.column("part")] or [np.zeros(0, np.uint8)])
        numbers = {
            name: np.concatenate([a.to_numpy() for a in table.column(name)] or [np.zeros(0, np.int64)])
            for name in _NUMBERS
        }
        self.document_part = codes
        if (wrong := _contradiction(self, numbers)) is not None:
            raise _bad(table.path, wrong)

    def _load_vocabulary(self) -> dict[int, str]:
        types = {"token_id": "int64", "token": "string"}
        table = ParquetParts(self._vocabulary_path, types, max_rows=_MAX_VOCABULARY)
        try:
            ids = [int(i) for a in table.column("token_id") for i in a.to_numpy()]
            strings = [s for a in table.column("token") for s in a.to_pylist()]
        finally:
            table.close()
        return dict(zip(ids, strings, strict=True))


def _check_arrays(file: ArrayFile, meta: CorpusMeta) -> None:
    for key, dtype in CorpusArrays.dtypes().items():
        n = meta.n_tokens if key == "tokens" else meta.n_windows
        if file.shape(key) != (n,) or file.dtype(key) != dtype:
            raise _bad(file.path, f"{key} is {file.dtype(key)}{list(file.shape(key))}, not {dtype}[{n}]")


def _part_codes(names: pa.Array, path: Path) -> np.ndarray:
    """The index in PARTS of each name."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = pc.index_in(names, pa.array(PARTS))
    if codes.null_count:
        raise _bad(path, f"has a part that is none of {', '.join(PARTS)}")
    return np.asarray(codes.to_numpy(zero_copy_only=False), np.uint8)


def _contradiction(corpus: Corpus, documents: dict[str, np.ndarray]) -> str | None:
    """Why documents and windows cannot belong together, None if they can."""
    n_windows, n_tokens = documents["n_windows"].astype(np.int64), documents["n_tokens"].astype(np.int64)
    first_window, first_token = documents["first_window"], documents["first_token"]
    if (n_windows < 1).any() or (n_tokens < 1).any():
        return "has a document without windows or tokens"
    for what, first, n, total in (
        ("windows", first_window, n_windows, corpus.n_windows), ("tokens", first_token, n_tokens, corpus.meta.n_tokens)
    ):  # fmt: skip
        ends = np.cumsum(n)
        if (ends[-1] if len(ends) else 0) != total or (first != ends - n).any():
            return f"its documents do not have the {total} {what} of the corpus"
    if (corpus.window_document != np.repeat(np.arange(len(n_windows)), n_windows)).any():
        return "its documents have other windows than the corpus"
    start, length, counted = corpus.window_start, corpus.window_length, corpus.window_counted_from
    begins = first_token[corpus.window_document]
    ends = begins + n_tokens[corpus.window_document]
    if (start < begins).any() or (length < 1).any() or (start > ends - length).any():
        return "a window of the corpus leaves its document"
    if (length > corpus.meta.sequence_length).any() or (counted < 0).any() or (counted >= length).any():
        return "a window of the corpus is too long or has no position that counts"
    return None


def _bad(path: Path, what: str) -> BadRunError:
    return BadRunError(what, where=str(path), next_step=AGAIN)
