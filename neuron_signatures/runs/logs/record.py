"""What the stage records and the settings of logs share, and how they are read, written and removed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import explain_os_errors, json_text, remove_files, write_text
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.logs.lines import open_log
from neuron_signatures.runs.logs.names import LogKind, log_name, settings_name
from neuron_signatures.runs.manifest import FileRecord, Sha256
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.opening import folder_below
from neuron_signatures.runs.result_records import DumpIdentity
from neuron_signatures.runs.results import meta_name, table_name
from neuron_signatures.runs.sealed_record import read_sealed

Count = Annotated[int, Field(ge=0, le=1 << 53)]
Label = Annotated[str, Field(max_length=1000)]


class LogRecord(BaseModel):
    """A record beside a log. Keys of later versions are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class LogMeta(LogRecord):
    """`<name>_meta.json`, written last."""

    stage: Label
    mode: Label
    created_at_utc: Label
    run: DumpIdentity | None = None
    set: Label
    """The set of explanations."""
    settings: dict[str, Any]
    n_poles: Count
    counts: dict[Status, Count]
    """Explanations by status; of scores, only the own ones."""
    log_bytes: Count
    """Size of the log when it was finished: what follows was appended later."""
    log_sha256: Sha256
    """Of these bytes."""
    files: list[FileRecord] = []
    record_sha256: Sha256 | None = None


Meta = TypeVar("Meta", bound=LogMeta)
Settings = TypeVar("Settings", bound=LogRecord)


def read_log_meta(kind: LogKind, run_dir: Path, name: str, model: type[Meta], *, unfinished: str) -> Meta:
    """The stage record. Raises `UsageError` with `unfinished` if there is none, `BadRunError` if it is damaged."""
    path = inside(run_dir, f"{kind.folder}/{meta_name(name)}")
    try:
        return read_sealed(path, model, again=kind.again)
    except FileNotFoundError as e:
        raise UsageError(unfinished, where=str(path)) from e


def read_log_settings(kind: LogKind, run_dir: Path, name: str, model: type[Settings]) -> Settings | None:
    """The settings with which a log was begun; None if it never was. Raises `BadRunError`."""
    path = inside(run_dir, f"{kind.folder}/{settings_name(name)}")
    try:
        return model.model_validate(read_json_file(path, max_bytes=RECORD_BYTES))
    except FileNotFoundError:
        return None
    except ValidationError as e:
        raise BadRunError(first_error(e), where=str(path), next_step=kind.again) from e


def write_log_settings(kind: LogKind, run_dir: Path, name: str, settings: LogRecord) -> None:
    """Before the first line of the log."""
    with explain_os_errors(run_dir / kind.folder), folder_below(run_dir, kind.folder, create=True):
        pass
    write_text(run_dir, settings_name(name), json_text(settings.model_dump()), below=kind.folder)


def refuse_taken(kind: LogKind, run_dir: Path, name: str, *, there: str, next_step: str) -> None:
    """Raise `UsageError` if there is a log of this name whose settings are missing, or of another case.

    `there` is the beginning of the message, such as "there is a set".
    """
    taken = next((n for n in kind.names(run_dir) if n.casefold() == name.casefold()), None)
    if taken is not None:
        why = "without settings to continue it" if taken == name else "and some file systems ignore case"
        raise UsageError(f"{there} {taken} already, {why}", where=str(run_dir / kind.folder), next_step=next_step)


def remove_log(kind: LogKind, run_dir: Path, name: str, *more: str) -> None:
    """Remove all files of a log, and `more`: the stage record first, the settings last, as they continue a log."""
    for file in (meta_name(name), table_name(name), *more, log_name(name), settings_name(name)):
        remove_files(run_dir, [file], below=kind.folder)


def log_digest(kind: LogKind, run_dir: Path, name: str, n_bytes: int) -> str:
    """The sha256 of the first bytes of a log."""
    digest, left = hashlib.sha256(), n_bytes
    with open_log(kind, kind.path(run_dir, name)) as f:
        while left and (block := f.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()
