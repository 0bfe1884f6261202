"""Writes the files of a corpus: tokens and windows, documents, and the strings of the tokens.

Arrays may be memory-mapped and rows may come from a generator, so a corpus can be larger than memory.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Iterable, Sequence
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from neuron_signatures.runs.arrays import nbytes, write_arrays
from neuron_signatures.runs.records.names import CORPUS, DOCUMENTS, VOCABULARY, Part
from neuron_signatures.runs.results import ResultsWriter, table_name
from neuron_signatures.runs.tokens import encodable

ROWS_PER_GROUP = 1 << 13
"""Rows of `documents.parquet` that a reader has to read for one."""


class CorpusArrays(NamedTuple):
    """`corpus.safetensors`. All axes are `window` except that of `tokens`."""

    tokens: np.ndarray
    window_start: np.ndarray
    window_length: np.ndarray
    window_counted_from: np.ndarray
    window_document: np.ndarray

    @staticmethod
    def dtypes() -> dict[str, np.dtype]:
        return dict(zip(CorpusArrays._fields, map(np.dtype, ("<i4", "<i8", "<i4", "<i4", "<i4")), strict=True))


class DocumentRow(NamedTuple):
    """A row of `documents.parquet`. With `--concatenate` it is a pack of documents."""

    name: str
    sha256: str
    part: Part
    first_window: int
    n_windows: int
    first_token: int
    n_tokens: int


_COLUMN_TYPES = ("string", "string", "string", "int64", "int32", "int64", "int32")


def document_types() -> dict[str, str]:
    """The Arrow type of each column of `documents.parquet`."""
    return dict(zip(DocumentRow._fields, _COLUMN_TYPES, strict=True))


def write_corpus_arrays(writer: ResultsWriter, arrays: CorpusArrays) -> None:
    """Write `corpus.safetensors`."""
    found = arrays._asdict()
    wrong = {k: a.dtype for k, a in found.items() if a.dtype != CorpusArrays.dtypes()[k]}
    assert not wrong, wrong
    with writer.file(CORPUS, needed=nbytes(found)) as f:
        write_arrays(cast(BinaryIO, _Unmapping(f, found.values())), found)


class _Unmapping:
    """A file that drops the pages of memory-mapped arrays after each write, which would count as memory."""

    def __init__(self, file: BinaryIO, arrays: Iterable[np.ndarray]) -> None:
        self._file = file
        maps = [getattr(a, "_mmap", None) for a in arrays]
        self._maps = [m for m in maps if m is not None and hasattr(m, "madvise")]  # Windows has none

    def write(self, raw: memoryview) -> int:
        n = self._file.write(raw)
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)
        return n


def write_documents(writer: ResultsWriter, rows: Iterable[DocumentRow]) -> None:
    """Write `documents.parquet`. Half a surrogate pair in a name becomes an escape."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in document_types().items()])
    groups = iter(rows)
    with writer.file(table_name(DOCUMENTS)) as f, pq.ParquetWriter(f, schema) as out:
        while group := list(itertools.islice(groups, ROWS_PER_GROUP)):
            columns = [list(c) for c in zip(*group, strict=True)]
            columns[0] = [encodable(name) for name in columns[0]]
            out.write_table(pa.table(columns, schema=schema), row_group_size=ROWS_PER_GROUP)


def write_vocabulary(writer: ResultsWriter, ids: Sequence[int], strings: Sequence[str]) -> None:
    """Write `vocabulary.parquet`: the string of each id, by ascending id."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        [pa.array(ids, pa.int64()), pa.array([encodable(s) for s in strings], pa.string())], ["token_id", "token"]
    )
    with writer.file(table_name(VOCABULARY), needed=table.nbytes) as f:
        pq.write_table(table, f)
