"""The base of the stage records in `records/`: pydantic, strict, sealed, read with bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.manifest import FileRecord, Sha256
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.names import RECORDS
from neuron_signatures.runs.sealed_record import read_sealed

AGAIN = "Copy the run again, or make its records again"
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Label = Annotated[str, Field(max_length=1000)]


class RecordsRecord(BaseModel):
    """A stage record of `records/`. `files` and the seal are added by `ResultsWriter.record`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    stage: Label
    created_at_utc: Label
    files: list[FileRecord] = []
    record_sha256: Sha256 | None = None

    def fields(self) -> dict[str, Any]:
        """What `ResultsWriter.record` takes: everything except the files and the seal."""
        return self.model_dump(exclude={"files", "record_sha256"})


Meta = TypeVar("Meta", bound=RecordsRecord)


def read_meta(run_dir: Path, name: str, kind: type[Meta]) -> Meta:
    """A stage record of `records/`, validated.

    Raises `UsageError` if it does not exist, `BadRunError` if it is damaged or has changed.
    """
    path = inside(run_dir, f"{RECORDS}/{name}")
    try:
        return read_sealed(path, kind, again=AGAIN)
    except FileNotFoundError as e:
        next_step = f"Make it with `python -m neuron_signatures.poc4_extract_records --run_dir {run_dir}`"
        raise UsageError("this has not been made yet", where=str(path), next_step=next_step) from e


def check_sizes(run_dir: Path, meta: RecordsRecord) -> None:
    """Raise `BadRunError` if a listed file is missing or has another size than its record says."""
    for file in meta.files:
        path = inside(run_dir, f"{RECORDS}/{file.name}")
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            raise BadRunError("is missing, its record lists it", where=str(path), next_step=AGAIN)
        if size != file.bytes:
            word = "truncated" if size < file.bytes else "extended"
            what = f"{word}: {size} bytes, its record has {file.bytes}"
            raise BadRunError(what, where=str(path), next_step=AGAIN)
