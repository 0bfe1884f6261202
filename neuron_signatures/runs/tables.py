"""Reading the Parquet tables of `analysis/`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.results import damaged, result_path, table_name

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def read_table(run_dir: Path, stem: str, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A table of `analysis/` from its Parquet file; only `columns`, if given.

    Raises `UsageError` if it has not been made, `BadRunError` if it cannot be read.
    """
    frame: pd.DataFrame = read_arrow(run_dir, stem, columns=columns).to_pandas()
    return frame


def read_arrow(
    run_dir: Path, stem: str, *, columns: Sequence[str] | None = None, coded: Sequence[str] = ()
) -> pa.Table:
    """As `read_table`, without importing pandas. The text columns `coded` are read as dictionaries."""
    import pyarrow as pa
    import pyarrow.parquet

    path = result_path(run_dir, table_name(stem))
    try:
        # pyarrow 26: `parquet.read_table` imports pandas
        with pyarrow.parquet.ParquetFile(path, read_dictionary=list(coded) or None) as file:
            table = file.read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError, KeyError) as e:
        raise damaged(path, "a Parquet table", e) from e
    _require(columns or (), table.column_names, path)
    return table


def iter_arrow(run_dir: Path, stem: str, *, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """As `read_arrow`, in batches, to find a few rows without loading the whole table."""
    import pyarrow as pa
    import pyarrow.parquet

    path = result_path(run_dir, table_name(stem))
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=1 << 16) as file:
            _require(columns, file.schema_arrow.names, path)
            yield from file.iter_batches(1 << 13, columns=list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as e:
        raise damaged(path, "a Parquet table", e) from e


def _require(columns: Sequence[str], present: Sequence[str], path: Path) -> None:
    if missing := [c for c in columns if c not in present]:
        raise BadRunError(f"has no column {', '.join(missing)}", where=str(path), next_step="Make it again")
