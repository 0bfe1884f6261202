"""Reads rows and columns of a Parquet table in a run folder, a row group at a time.

A small file can describe a table of any size, so rows, types and sizes are checked before something is read.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.opening import NotReadableError, open_regular
from neuron_signatures.runs.records.stage_meta import AGAIN

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_FOOTER = 64 << 20
_MAX_CHUNK = 256 << 20
"""Bytes of one column in one row group."""
_MAX_GROUP_ROWS = 1 << 24


class ParquetParts:
    """An open table with the columns `types` (name to Arrow type) and no nulls.

    `n_rows` is its exact number of rows, or `max_rows` their limit; `group_rows` the rows of every group but the last.
    Several threads can read at a time. Raises `BadRunError` if the file is missing, damaged or another table.
    """

    def __init__(
        self, path: Path, types: Mapping[str, str], *, n_rows: int | None = None, max_rows: int = 1 << 31,
        group_rows: int | None = None,
    ) -> None:  # fmt: skip
        import pyarrow.parquet as pq

        self.path = path
        self._group_rows = group_rows
        self._group: tuple[int, pa.Table] | None = None
        self._lock = threading.Lock()
        try:
            self._file = open_regular(path)
        except (OSError, NotReadableError) as e:
            raise self._bad(f"cannot be read ({getattr(e, 'strerror', None) or e})") from e
        try:
            with self._faults():
                self._check_footer()
                self._table = pq.ParquetFile(self._file, memory_map=False)
                self._check(types, n_rows, max_rows)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def column(self, name: str) -> Iterator[pa.Array]:
        """The values of a column, in one or more arrays per row group."""
        for group in range(self._table.num_row_groups):
            for chunk in self._read(group, [name]).column(0).chunks:
                if chunk.null_count:
                    raise self._bad(f"column {name} has empty cells")
                yield chunk

    def row(self, number: int) -> dict[str, Any]:
        """One row; its group stays in memory for the next one."""
        assert self._group_rows is not None
        group, at = divmod(number, self._group_rows)
        kept = self._group
        if kept is None or kept[0] != group:
            self._group = kept = (group, self._read(group, None))
        row: dict[str, Any] = kept[1].slice(at, 1).to_pylist()[0]
        return row

    def _read(self, group: int, columns: list[str] | None) -> pa.Table:
        with self._faults(), self._lock:
            table = self._table.read_row_group(group, columns=columns, use_threads=False)
        if table.num_rows != self._table.metadata.row_group(group).num_rows:
            raise self._bad("has fewer rows than its footer says")
        return table

    def _check_footer(self) -> None:
        size = self._file.seek(0, 2)
        self._file.seek(max(0, size - 8))
        if int.from_bytes(self._file.read(4), "little") > _MAX_FOOTER:
            raise self._bad("its footer is too large")
        self._file.seek(0)

    def _check(self, types: Mapping[str, str], n_rows: int | None, max_rows: int) -> None:
        metadata = self._table.metadata
        found = {f.name: str(f.type) for f in self._table.schema_arrow}
        if found != dict(types):
            raise self._bad(f"has the columns {found}"[:200])
        if metadata.num_rows > max_rows or (n_rows is not None and metadata.num_rows != n_rows):
            raise self._bad(f"has {metadata.num_rows} rows, not {n_rows if n_rows is not None else max_rows}")
        groups = [metadata.row_group(g) for g in range(metadata.num_row_groups)]
        full = [g.num_rows for g in groups[:-1]]
        if self._group_rows is not None and (any(n != self._group_rows for n in full) or (
            groups and groups[-1].num_rows > self._group_rows)):  # fmt: skip
            raise self._bad(f"its row groups do not have {self._group_rows} rows")
        if sum(g.num_rows for g in groups) != metadata.num_rows or any(g.num_rows > _MAX_GROUP_ROWS for g in groups):
            raise self._bad("its row groups do not have the rows of the table")
        sizes = [g.column(c).total_uncompressed_size for g in groups for c in range(len(types))]
        if max(sizes, default=0) > _MAX_CHUNK:
            raise self._bad(f"has a column of {max(sizes)} bytes in one row group")

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except BadRunError:
            raise
        except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
            reason = " ".join(str(e).split())[:160]
            raise self._bad(f"cannot be read as a Parquet table ({reason})") from e

    def _bad(self, what: str) -> BadRunError:
        return BadRunError(what, where=str(self.path), next_step=AGAIN)
