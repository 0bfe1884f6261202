"""The stage record of a set, `<set>_meta.json`, and the settings that a continued set must share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.explanations.names import EXPLANATIONS, meta_name, settings_name
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.manifest import FileRecord, Sha256
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.result_records import DumpIdentity
from neuron_signatures.runs.sealed_record import read_sealed

AGAIN = "Copy the run again, or repeat the command that made the set"
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Label = Annotated[str, Field(max_length=1000)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class ExplanationsMeta(_Record):
    """`explanations/<set>_meta.json`. Keys of later versions are ignored."""

    stage: Label
    mode: Label
    """`explain`, or `import`."""
    created_at_utc: Label
    run: DumpIdentity | None = None
    set: Label
    settings: dict[str, Any]
    n_explanations: Count
    """Without failed requests that were sent again."""
    n_poles: Count
    counts: dict[Status, Count]
    """Explanations by status."""
    skipped: dict[Label, list[Label]]
    """Names of the poles without a request, by reason."""
    log_bytes: Count
    """Size of the log when the set was finished: what follows was added by people."""
    log_sha256: Sha256
    """Of these bytes."""
    files: list[FileRecord] = []
    record_sha256: Sha256 | None = None


class SetSettings(_Record):
    """`explanations/<set>_settings.json`, written before the first line of the log."""

    set: Label
    created_at_utc: Label
    settings: dict[str, Any]


def read_set_meta(run_dir: Path, set_name: str) -> ExplanationsMeta:
    """The stage record of a set. Raises `UsageError` if it is not finished, `BadRunError` if the record is damaged."""
    path = inside(run_dir, f"{EXPLANATIONS}/{meta_name(set_name)}")
    try:
        return read_sealed(path, ExplanationsMeta, again=AGAIN)
    except FileNotFoundError as e:
        raise UsageError("this set is not finished", where=str(path)) from e


def read_settings(run_dir: Path, set_name: str) -> SetSettings | None:
    """The settings with which a set was begun; None for a set that was never begun. Raises `BadRunError`."""
    path = inside(run_dir, f"{EXPLANATIONS}/{settings_name(set_name)}")
    try:
        return SetSettings.model_validate(read_json_file(path, max_bytes=RECORD_BYTES))
    except FileNotFoundError:
        return None
    except ValidationError as e:
        raise BadRunError(first_error(e), where=str(path), next_step=AGAIN) from e
