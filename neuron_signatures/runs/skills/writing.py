"""Writes the tables of `skills/` with their columns and types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from neuron_signatures.runs.results import ResultsWriter, table_name

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROWS_AT_ONCE = 1 << 20


def write_table(writer: ResultsWriter, stem: str, frame: pd.DataFrame, columns: Mapping[str, str]) -> None:
    """Write `stem.parquet` with exactly these columns (`runs.skills.columns`). NaN becomes null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame[list(columns)], schema=arrow_schema(columns), preserve_index=False)
    with writer.file(table_name(stem), needed=table.nbytes) as f:
        pq.write_table(table, f, row_group_size=ROWS_AT_ONCE)


def arrow_schema(columns: Mapping[str, str]) -> pa.Schema:
    """The Arrow schema of a table."""
    import pyarrow as pa

    kinds = {"string": pa.string(), "double": pa.float64(), "float": pa.float32(), "int32": pa.int32(),
             "int64": pa.int64(), "bool": pa.bool_()}  # fmt: skip
    return pa.schema([pa.field(name, kinds[kind]) for name, kind in columns.items()])
