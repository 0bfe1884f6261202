"""`pipeline.json`: which steps of a pipeline a run has, and by what they were made (docs/pipeline.md)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.files import json_text, sha256_file, write_text
from neuron_signatures.runs.logs.names import log_name
from neuron_signatures.runs.manifest import Sha256
from neuron_signatures.runs.names import META, PIPELINE
from neuron_signatures.runs.opening import refuse_links
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.seal import seal
from neuron_signatures.runs.sealed_record import read_sealed
from neuron_signatures.runs.versions import now_utc

AGAIN: Final = "Remove this file; the next pipeline makes it again, and its stages keep what they have"
_Label = Annotated[str, Field(max_length=1000)]
_Text = Annotated[str, Field(max_length=100_000)]
_MAX_STEPS: Final = 10_000


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class StepRecord(_Record):
    """One step: a command of a stage with its settings."""

    stage: _Label
    """The table of the configuration, such as `rank`."""
    name: _Label
    status: Literal["started", "done"]
    command: _Text
    settings: dict[_Label, Any]
    """By key of the configuration, with the shared ones that apply."""
    inputs: dict[_Text, _Label]
    """Digests of files and folders, by the setting that names them or by their path in the run."""
    digest: Sha256
    """Of settings, inputs, the steps before, and the version of the package: with another one, the step runs again."""
    base: Sha256
    """Of what cannot be changed without replacing the results."""
    after: dict[_Label, Sha256]
    """Digests of the steps on which it depends, by name."""
    version: _Label
    """Of neuron-signatures."""
    results: dict[_Text, Sha256] = {}
    """Checksums of the stage records that the step wrote, by their path in the run. While it is started: of the record
    that it may replace."""
    finished_at_utc: _Label | None = None
    seconds: Annotated[float, Field(ge=0)] | None = None


class PipelineRecord(_Record):
    """The whole file. Steps of earlier configurations stay as long as their results do."""

    record_version: Literal[1] = 1
    stage: Literal["pipeline"] = "pipeline"
    updated_at_utc: _Label
    config: _Text
    """The path of the configuration, as it was given."""
    steps: Annotated[list[StepRecord], Field(max_length=_MAX_STEPS)]

    def text(self) -> str:
        """In one line."""
        done = sum(step.status == "done" for step in self.steps)
        return f"{done} of {len(self.steps)} steps done, {self.config}"


def read_pipeline(run_dir: Path) -> PipelineRecord | None:
    """None if the run was made by no pipeline. Raises `BadRunError` if the file is damaged."""
    refuse_links(run_dir, [PIPELINE])
    if not os.path.lexists(run_dir / PIPELINE):
        return None
    try:
        return read_sealed(run_dir / PIPELINE, PipelineRecord, again=AGAIN)
    except FileNotFoundError:  # removed meanwhile
        return None


def write_pipeline(run_dir: Path, config: str, steps: list[StepRecord]) -> None:
    """Replace the file atomically."""
    record = PipelineRecord(updated_at_utc=now_utc(), config=config, steps=steps)
    write_text(run_dir, PIPELINE, seal(json_text(strict(record.model_dump()))))


def changed_results(known: StepRecord, run_dir: Path) -> list[str]:
    """Which results of a step are not there as it left them, one text each."""
    reasons = []
    for name, digest in known.results.items():
        path = run_dir / name
        if not path.is_file():
            reasons.append(f"{name} is missing")
        elif sha256_file(path) != digest:
            reasons.append(f"{name} has changed")
        else:
            reasons += [f"{found} is missing or of another size" for found in _lost_files(path)]
    return reasons


def pipeline_faults(run_dir: Path) -> list[str]:
    """What is wrong with the file, one line each."""
    try:
        read_pipeline(run_dir)
    except BadRunError as e:
        return [e.line()]
    return []


def _lost_files(record_path: Path) -> list[str]:
    """Files that a stage record lists, or the log that it describes, if they are not there as they were."""
    if record_path.suffix != ".json":  # the report
        return []
    record = read_json_file(record_path, max_bytes=RECORD_BYTES)
    if not isinstance(record, dict):
        return []
    sizes = {str(f["name"]): f.get("bytes") for f in record.get("files", []) if isinstance(f, dict) and "name" in f}
    lost = [name for name, size in sizes.items() if size is not None and _size_of(record_path.parent / name) != size]
    if (n_bytes := record.get("log_bytes")) is not None:
        log = record_path.with_name(log_name(record_path.name.removesuffix(META)))
        if (_size_of(log) or 0) < n_bytes:  # people may have added to it
            lost.append(log.name)
    return lost


def _size_of(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
