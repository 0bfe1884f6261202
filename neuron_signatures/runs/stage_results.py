"""A stage folder of tables: each mode writes its tables and then its record, and readers refuse tables without it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import explain_os_errors, sweep_leftovers
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.manifest import FileRecord, Sha256
from neuron_signatures.runs.names import META, inside
from neuron_signatures.runs.opening import folder_below
from neuron_signatures.runs.result_records import DumpIdentity
from neuron_signatures.runs.results import ResultsWriter, table_name
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.sealed_record import read_sealed
from neuron_signatures.runs.sharding.locks import running_shards
from neuron_signatures.runs.stage_record import run_identity, stage_record
from neuron_signatures.runs.tables import iter_table_file, read_rows_file, read_table_file, rows_where_file

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

AGAIN = "Copy the run again, or repeat the command that made it"
ROWS_AT_ONCE = 1 << 18
_Label = Annotated[str, Field(max_length=1000)]


class Table(NamedTuple):
    """A table: the mode that writes it, and its columns with their Arrow types (`arrow_schema`)."""

    mode: str
    columns: Mapping[str, str]


class ResultRecord(BaseModel):
    """The stage record of a mode."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    stage: _Label
    mode: _Label
    created_at_utc: _Label
    run: DumpIdentity | None = None
    settings: dict[str, Any]
    """The settings that decide the results."""
    sources: dict[str, Sha256] = {}
    """Seals of the stage records that the result was computed from, by their path in the run folder."""
    facts: dict[str, Any]
    """Numbers about the result as a whole, for people."""
    warnings: list[_Label] = []
    wall_seconds: float
    files: list[FileRecord] = []
    record_sha256: Sha256 | None = None


@dataclass(frozen=True)
class StageFolder:
    """A folder of a run with the results of a stage. `command` makes them, without `--run_dir`; `modes` are the names
    of its records."""

    folder: str
    stage: str
    tables: Mapping[str, Table]
    command: str
    modes: tuple[str, ...] = field(default=())

    def finished(self, run_dir: Path) -> tuple[str, ...]:
        """The modes whose record is there."""
        return tuple(mode for mode in self.modes if (run_dir / self.folder / record_name(mode)).is_file())

    def read_record(self, run_dir: Path, mode: str) -> ResultRecord:
        """The record of a mode. Raises `UsageError` if it has not been made, `BadRunError` if it is damaged."""
        path = inside(run_dir, f"{self.folder}/{record_name(mode)}")
        try:
            return read_sealed(path, ResultRecord, again=AGAIN)
        except FileNotFoundError as e:
            next_step = f"Make it with `{self.command.format(mode=mode)} --run_dir {run_dir}`"
            raise UsageError("this has not been made yet", where=str(path), next_step=next_step) from e

    def read_table(self, run_dir: Path, stem: str, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """A whole table, or some of its columns. Raises `UsageError` if its mode is not finished, `BadRunError` if it
        is missing, damaged, of another schema, or larger than readers accept."""
        return read_table_file(self._path(run_dir, stem), columns=list(columns or self.tables[stem].columns))

    def read_rows(self, run_dir: Path, stem: str) -> list[dict[str, Any]]:
        """As `read_table`, as rows, without pandas; null and numbers that are not finite are None."""
        return read_rows_file(self._path(run_dir, stem), list(self.tables[stem].columns))

    def iter_table(self, run_dir: Path, stem: str, *, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """As `read_table`, in parts, for tables of any size of which some rows are wanted."""
        return iter_table_file(self._path(run_dir, stem), list(columns or self.tables[stem].columns))

    def rows_where(
        self, run_dir: Path, stem: str, *, columns: Sequence[str] | None = None, **wanted: Sequence[int]
    ) -> list[dict[str, Any]]:
        """The rows whose integer columns have one of the `wanted` values, in order, without pandas; null is None.

        Raises as `read_table`. Fast for one `layer` where rows are in order of layer."""
        return rows_where_file(self._path(run_dir, stem), list(columns or self.tables[stem].columns), wanted)

    def outdated(self, run_dir: Path, record: ResultRecord) -> list[str]:
        """The paths of the stage records that changed since the result was computed from them."""
        return [name for name, sha256 in record.sources.items() if _seal_of(run_dir, name) != sha256]

    def _path(self, run_dir: Path, stem: str) -> Path:
        self.read_record(run_dir, self.tables[stem].mode)
        path = inside(run_dir, f"{self.folder}/{table_name(stem)}")
        if not path.is_file():
            raise BadRunError("is missing", where=str(path), next_step=AGAIN)
        return path


@contextlib.contextmanager
def open_folder(run: Run, folder: StageFolder, mode: str) -> Iterator[ResultWriter]:
    """Lock the run and yield the writer of one result of a mode. The earlier record is removed before the first file
    is written, so a command that stops before keeps the earlier result.

    The block ends with `ResultWriter.finish`. Raises `RunLockedError` if another process holds the lock.
    """
    with run_lock(run.path):
        parts = folder.folder.split("/")
        for depth in range(1, len(parts) + 1):
            below = "/".join(parts[:depth])
            with explain_os_errors(run.path / below), folder_below(run.path, below, create=True):
                if not running_shards(run.path):
                    sweep_leftovers(run.path / below)
        yield ResultWriter(run, folder, mode)


class ResultWriter:
    """Writes the tables of one mode, then its record."""

    def __init__(self, run: Run, folder: StageFolder, mode: str) -> None:
        self._files = ResultsWriter(run.path, folder.folder)
        self._begun = False
        self._run, self._folder, self._mode = run, folder, mode
        self._started = time.monotonic()

    @property
    def files(self) -> ResultsWriter:
        """For files that are not tables; removes the earlier record."""
        if not self._begun:
            self._files.begin(record_name(self._mode))
            self._begun = True
        return self._files

    def table(self, stem: str, frame: pd.DataFrame) -> None:
        """Write `stem.parquet` with exactly its columns. NaN becomes null."""
        write_table(self.files, stem, frame, self._folder.tables[stem].columns)

    def finish(
        self, *, settings: Mapping[str, Any], facts: Mapping[str, Any], sources: Sequence[str] = (),
        warnings: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Write the record. `sources` are the paths in the run folder of the stage records that were read."""
        record = stage_record(
            run_identity(self._run), self._mode, dict(settings), stage=self._folder.stage,
            sources={name: sha256 for name in sources if (sha256 := _seal_of(self._run.path, name))},
            facts=dict(facts), warnings=list(warnings), wall_seconds=round(time.monotonic() - self._started, 1),
        )  # fmt: skip
        self.files.record(record_name(self._mode), record)


def write_table(writer: ResultsWriter, stem: str, frame: pd.DataFrame, columns: Mapping[str, str]) -> None:
    """Write `stem.parquet` with exactly these columns. NaN becomes null."""
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


def record_name(mode: str) -> str:
    """Name of the stage record of a mode."""
    return f"{mode}{META}"


class _Sealed(BaseModel):
    model_config = ConfigDict(extra="ignore")

    record_sha256: Sha256 | None = None


def _seal_of(run_dir: Path, name: str) -> str | None:
    """The seal of a stage record; None if it is not there."""
    try:
        return read_sealed(inside(run_dir, name), _Sealed, again=AGAIN).record_sha256
    except FileNotFoundError:
        return None
