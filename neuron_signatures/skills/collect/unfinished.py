"""What a stopped command leaves: its settings, the sample, and the parts that are finished.

A file with the settings and the finished files, with their checksums, is rewritten after every part. The record of the
stage is missing until all is done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from neuron_signatures.runs.arrays import nbytes, write_arrays
from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import remove_files, sha256_file, whole_file
from neuron_signatures.runs.manifest import FileRecord
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.skills.names import SKILLS, UNFINISHED, is_part, is_unfinished, part_name
from neuron_signatures.runs.writer import refuse_differences

_ANEW: Final = "Give --overwrite to start anew"


class Unfinished(BaseModel):
    """The state of a command: `files` are whole, and complete as far as they go."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    settings: dict[str, Any]
    seconds: float
    """That the finished parts took."""
    files: list[FileRecord]


def unfinished_path(run_dir: Path) -> Path:
    return inside(run_dir, f"{SKILLS}/{UNFINISHED}")


def read_unfinished(run_dir: Path) -> Unfinished | None:
    """The state of a stopped command; None if there is none. Raises `BadRunError` if it is damaged."""
    path = unfinished_path(run_dir)
    try:
        return Unfinished.model_validate(read_json_file(path, max_bytes=RECORD_BYTES))
    except FileNotFoundError:
        return None
    except ValidationError as e:
        raise BadRunError(first_error(e), where=str(path), next_step=_ANEW) from e
    except BadRunError as e:
        raise BadRunError(e.what, where=str(path), next_step=_ANEW) from e


def refuse_other_settings(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path, *, what: str) -> None:
    """Raise `UsageError` with the settings that differ."""
    refuse_differences(_flat(found), _flat(wanted), path, what=what, next_step=f"Repeat those flags. {_ANEW}")


def refuse_stopped(run_dir: Path) -> None:
    """Raise `UsageError`: a command was stopped here, and this one neither resumes nor overwrites."""
    next_step = "Give --resume to continue it, or --overwrite to start anew"
    raise UsageError("a collection was stopped here", where=str(run_dir / SKILLS), next_step=next_step)


class UnfinishedFiles:
    """Writes files of a command that can be resumed; `found` is what an earlier process left."""

    def __init__(self, run_dir: Path, settings: Mapping[str, Any], found: Unfinished | None) -> None:
        self._run_dir, self._settings = run_dir, dict(settings)
        self._files = [] if found is None else _whole(run_dir, found.files)
        self.seconds = 0.0 if found is None else found.seconds
        self.save()

    def has(self, *names: str) -> bool:
        """Whether all these files are finished."""
        return {f.name for f in self._files} >= set(names)

    def write(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write arrays; they count as finished after the next `save`."""
        with whole_file(self._run_dir, name, below=SKILLS, needed=nbytes(arrays)) as f:
            sha256 = write_arrays(f, arrays)
            size = f.tell()
        self._files = [*(f for f in self._files if f.name != name), FileRecord(name=name, bytes=size, sha256=sha256)]

    def save(self) -> None:
        state = Unfinished(settings=self._settings, seconds=self.seconds, files=self._files)
        raw = json.dumps(state.model_dump(), indent=2, allow_nan=False).encode()
        with whole_file(self._run_dir, UNFINISHED, below=SKILLS, needed=len(raw)) as f:
            f.write(raw)


def remove_leftovers(run_dir: Path, *, n_parts: int = 0) -> None:
    """Remove the state of a command, what only an unfinished one needs, and the parts after the first `n_parts`."""
    there = [p.name for p in (run_dir / SKILLS).iterdir()]
    kept = {part_name(number) for number in range(1, n_parts + 1)}
    remove_files(run_dir, [n for n in there if is_unfinished(n) or (is_part(n) and n not in kept)], below=SKILLS)


def _whole(run_dir: Path, files: Sequence[FileRecord]) -> list[FileRecord]:
    """The files as they were recorded."""
    paths = {f.name: inside(run_dir, f"{SKILLS}/{f.name}") for f in files}
    return [f for f in files if paths[f.name].is_file() and sha256_file(paths[f.name]) == f.sha256]


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of settings by their names with dots, so that differences are named."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found.update({f"{key}.{k}": v for k, v in _flat(value).items()})
        else:
            found[key] = value
    return found
