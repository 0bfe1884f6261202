"""The stage record of scores, `<name>_meta.json`, and the settings that continued scores must share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.manifest import FileRecord, Sha256
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.result_records import DumpIdentity
from neuron_signatures.runs.scores.names import SCORES, Control, Scorer, Split, meta_name, settings_name
from neuron_signatures.runs.sealed_record import read_sealed

AGAIN = "Copy the run again, or repeat the command that made the scores"
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Label = Annotated[str, Field(max_length=1000)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class About(_Record):
    """What was scored, by what. `settings` are compared when scores are continued."""

    name: Label
    """The stem of the files."""
    set: Label
    """The set of explanations."""
    scorer: Scorer
    scorer_model: Label | None = None
    """The language model that was asked, or the subject of the run if a scorer runs it; None without one."""
    split: Split
    settings: dict[str, Any]


class ScoresMeta(About):
    """`scores/<name>_meta.json`. Keys of later versions are ignored."""

    stage: Label
    mode: Label
    created_at_utc: Label
    run: DumpIdentity | None = None
    n_poles: Count
    n_lines: Count
    """Without lines that a later one replaced."""
    controls: dict[Control, Count]
    """Lines by control."""
    counts: dict[Status, Count]
    """Own explanations by status."""
    score_names: list[Label]
    log_bytes: Count
    log_sha256: Sha256
    files: list[FileRecord] = []
    record_sha256: Sha256 | None = None


class ScoreSettings(About):
    """`scores/<name>_settings.json`, written before the first line of the log."""

    created_at_utc: Label


def read_meta(run_dir: Path, name: str) -> ScoresMeta:
    """The stage record. Raises `UsageError` if the scores are not finished, `BadRunError` if it is damaged."""
    path = inside(run_dir, f"{SCORES}/{meta_name(name)}")
    try:
        return read_sealed(path, ScoresMeta, again=AGAIN)
    except FileNotFoundError as e:
        raise UsageError("these scores are not finished", where=str(path)) from e


def read_settings(run_dir: Path, name: str) -> ScoreSettings | None:
    """With which the scores were begun; None if they never were. Raises `BadRunError`."""
    path = inside(run_dir, f"{SCORES}/{settings_name(name)}")
    try:
        return ScoreSettings.model_validate(read_json_file(path, max_bytes=RECORD_BYTES))
    except FileNotFoundError:
        return None
    except ValidationError as e:
        raise BadRunError(first_error(e), where=str(path), next_step=AGAIN) from e
