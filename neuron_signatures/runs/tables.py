"""Reading the Parquet tables of `analysis/`.

A small file can describe a table of any size, so its sizes are checked before it is read: the number of values, the
bytes of text, and how they are stored. Text is read as dictionaries, in which a text that is repeated is there once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.results import damaged, result_path, table_name

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_VALUES = 40_000_000
"""Rows times columns that are read: 320 MB. A ranking at every position of 27 tokens of Gemma-2-2b has as many."""
MAX_TEXT = 64 << 20
"""Bytes of the distinct texts of one column."""
MAX_CELL = 1 << 16
"""Bytes of one text."""
_MAX_FOOTER = 4 << 20
_MAX_COMPRESSED_TEXT = MAX_TEXT >> 1  # snappy packs at most 21 bytes into one
_TYPES = {"BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE", "BYTE_ARRAY"}
_ENCODINGS = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "BIT_PACKED"}
_COMPRESSIONS = {"SNAPPY", "UNCOMPRESSED"}


def read_table(run_dir: Path, stem: str, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A table of `analysis/` from its Parquet file; only `columns`, if given.

    Raises `UsageError` if it has not been made, `BadRunError` if it cannot be read or is too large.
    """
    return _frame(read_arrow(run_dir, stem, columns=columns))


def read_table_file(path: Path, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A table of another folder of the run; only `columns`, if given.

    Raises `BadRunError` if it cannot be read, is too large or lacks a column.
    """
    return _frame(_read_file(path, columns))


def read_arrow_file(path: Path) -> pa.Table:
    """As `read_table_file`, without importing pandas. Columns of text are dictionaries."""
    return _read_file(path, None)


def read_rows_file(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """As `read_table_file`, as rows, without importing pandas; null and numbers that are not finite are None."""
    try:
        rows = _read_file(path, columns).to_pylist()
    except UnicodeDecodeError as e:
        raise damaged(path, "a Parquet table", e) from e
    return [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in rows]


def _frame(table: pa.Table) -> pd.DataFrame:
    import pyarrow as pa

    plain = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in table.schema]
    frame: pd.DataFrame = table.cast(pa.schema(plain, table.schema.metadata)).to_pandas()
    return frame


def read_arrow(run_dir: Path, stem: str, *, columns: Sequence[str] | None = None) -> pa.Table:
    """As `read_table`, without importing pandas. Columns of text are dictionaries."""
    return _read_file(result_path(run_dir, table_name(stem)), columns)


def _read_file(path: Path, columns: Sequence[str] | None) -> pa.Table:
    import pyarrow as pa

    try:
        with _open(path, columns) as file:  # pyarrow 26: `parquet.read_table` imports pandas
            table = file.read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError, KeyError) as e:
        raise damaged(path, "a Parquet table", e) from e
    for column in table.columns:
        check_texts(column.chunks, path)
    return table


def rows_where_file(path: Path, columns: Sequence[str], wanted: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    """The rows of a table of another folder of the run whose integer columns have one of the `wanted` values, without
    importing pandas; null is None.

    Parts of the file that cannot hold a wanted `layer` are skipped. Raises as `read_table_file`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    names = list(dict.fromkeys((*columns, *wanted)))
    layers = wanted.get("layer")
    rows: list[dict[str, Any]] = []
    try:
        with _open(path, names, most=None) as file:
            groups = [g for g in range(file.num_row_groups)
                      if layers is None or any(_may_hold(file.metadata, g, n) for n in layers)]  # fmt: skip
            for batch in file.iter_batches(1 << 16, columns=names, use_threads=False, row_groups=groups):
                for name, values in wanted.items():
                    column = batch.column(name)
                    batch = batch.filter(pc.is_in(column, value_set=pa.array(values, column.type)))
                check_texts(batch.columns, path)
                rows += batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
        raise damaged(path, "a Parquet table", e) from e
    return rows


def iter_table_file(path: Path, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """A table of another folder of the run, in parts, to find some of its rows. Raises as `read_table_file`."""
    import pyarrow as pa

    try:
        with _open(path, columns, most=None) as file:
            for batch in file.iter_batches(1 << 16, columns=list(columns), use_threads=False):
                check_texts(batch.columns, path)
                yield _frame(pa.Table.from_batches([batch]))
    except (pa.ArrowException, OSError) as e:
        raise damaged(path, "a Parquet table", e) from e


def iter_arrow(
    run_dir: Path, stem: str, *, columns: Sequence[str], layer: int | None = None
) -> Iterator[pa.RecordBatch]:
    """As `read_arrow`, in batches, to find a few rows without loading the whole table.

    With a `layer`, parts of the file whose column `layer` does not include it are skipped.
    """
    import pyarrow as pa

    path = result_path(run_dir, table_name(stem))
    try:
        with _open(path, columns, buffer_size=1 << 16) as file:
            groups = [g for g in range(file.num_row_groups) if layer is None or _may_hold(file.metadata, g, layer)]
            for batch in file.iter_batches(1 << 13, columns=list(columns), use_threads=False, row_groups=groups):
                check_texts(batch.columns, path)
                yield batch
    except (pa.ArrowException, OSError) as e:
        raise damaged(path, "a Parquet table", e) from e


def count_rows(run_dir: Path, stem: str) -> int:
    """The number of rows of a table. Raises as `read_table`."""
    import pyarrow as pa

    path = result_path(run_dir, table_name(stem))
    try:
        with _open(path, ()) as file:
            return int(file.metadata.num_rows)
    except (pa.ArrowException, OSError) as e:
        raise damaged(path, "a Parquet table", e) from e


def _open(
    path: Path, columns: Sequence[str] | None, *, most: int | None = MAX_VALUES, **options: Any
) -> pq.ParquetFile:
    """The file, whose sizes are within the limits, of at most `most` values. Raises `BadRunError` if a column is
    missing."""
    import pyarrow.parquet

    with path.open("rb") as file:
        file.seek(-min(8, os.fstat(file.fileno()).st_size), os.SEEK_END)
        footer = file.read(8)
        if footer.endswith(b"PAR1") and int.from_bytes(footer[:4], "little") > _MAX_FOOTER:
            raise _refused(path, "its footer is not that of one of our tables")
    metadata = pyarrow.parquet.read_metadata(path)
    schema = metadata.schema.to_arrow_schema()
    names = schema.names if columns is None else columns
    if missing := [c for c in names if c not in schema.names]:
        raise _refused(path, f"has no column {', '.join(missing)}")
    if most is not None and metadata.num_rows * max(1, len(names)) > most:
        what = f"has {metadata.num_rows} rows; {most // max(1, len(names))} can be read"
        raise BadRunError(what, where=str(path), next_step="Rank fewer positions")
    leaves = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    for name in names:
        nested = name not in leaves
        why = f"has type {schema.field(name).type}, not text or numbers" if nested else _unusual(metadata, leaves[name])
        if why:
            raise _refused(path, f"column {name}: {why}")
    text = [n for n in names if metadata.schema.column(leaves[n]).physical_type == "BYTE_ARRAY"]
    return pyarrow.parquet.ParquetFile(path, metadata=metadata, read_dictionary=text or None, **options)


def _may_hold(metadata: pq.FileMetaData, group: int, layer: int) -> bool:
    """Whether a row group can have rows of the layer, by the smallest and largest value of its column `layer`."""
    columns = (metadata.row_group(group).column(i) for i in range(metadata.num_columns))
    statistics = next((c.statistics for c in columns if c.path_in_schema == "layer"), None)
    if statistics is None or not statistics.has_min_max:
        return True
    low, high = statistics.min, statistics.max
    return not (isinstance(low, int) and isinstance(high, int)) or low <= layer <= high


def _unusual(metadata: pq.FileMetaData, i: int) -> str:
    """Why a column is not one that stage 2 writes; empty if it can be."""
    schema = metadata.schema.column(i)
    if schema.max_repetition_level or schema.max_definition_level > 1 or schema.physical_type not in _TYPES:
        return f"has type {schema.physical_type}, not text or numbers"
    groups = [metadata.row_group(g) for g in range(metadata.num_row_groups)]
    chunks = [g.column(i) for g in groups]
    if any(c.num_values != g.num_rows for c, g in zip(chunks, groups, strict=True)):
        return "not one value per row"
    if any(c.compression not in _COMPRESSIONS or not _ENCODINGS.issuperset(c.encodings) for c in chunks):
        return "an unusual compression or encoding"
    if sum(g.num_rows for g in groups) != metadata.num_rows:
        return "not one value per row"
    n_bytes, packed = (sum(getattr(c, f"total_{kind}_size") for c in chunks) for kind in ("uncompressed", "compressed"))
    if schema.physical_type == "BYTE_ARRAY" and (n_bytes > MAX_TEXT or packed > _MAX_COMPRESSED_TEXT):
        return f"{n_bytes} bytes of text; {MAX_TEXT} can be read"
    return ""


def check_texts(arrays: Sequence[pa.Array], path: Path) -> None:
    """Raise `BadRunError` for a dictionary with a text of more than `MAX_CELL` bytes."""
    import pyarrow as pa

    for array in arrays:
        if not pa.types.is_dictionary(array.type) or array.dictionary.nbytes <= MAX_CELL:
            continue
        import pyarrow.compute as pc  # takes 30 ms

        longest = pc.max(pc.binary_length(array.dictionary)).as_py() or 0
        if longest > MAX_CELL:
            raise _refused(path, f"has a text of {longest} bytes; {MAX_CELL} can be read")


def _refused(path: Path, what: str) -> BadRunError:
    return BadRunError(what, where=str(path), next_step="Make it again")
