"""Digests that say whether a step is the same as one that is done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import sha256_file
from neuron_signatures.runs.opening import NotReadableError
from neuron_signatures.steps.step import Step

_READ_BYTES = 64 << 20
"""Larger files count as changed by size and time of modification."""


@dataclass(frozen=True)
class Digests:
    """Of one step. `base` and `full` are as in `runs.pipeline_record.StepRecord`."""

    base: str
    full: str
    inputs: Mapping[str, str]
    """Of files: by the setting that names them, or by their path in the run."""
    after: Mapping[str, str]
    version: str


def digests_of(steps: list[Step], run_dir: Path) -> dict[str, Digests]:
    """By name of the step. Raises `UsageError` if a file cannot be read."""
    found: dict[str, Digests] = {}
    by_name = {step.name: step for step in steps}
    for step in steps:
        after = {name: found[name].full for name in step.needs}
        kept = [name for name in step.needs if by_name[name].stage.replaces in ("run", "records")]
        found[step.name] = _digests(step, run_dir, after, {name: found[name].base for name in kept})
    return found


def _digests(step: Step, run_dir: Path, after: Mapping[str, str], bases: Mapping[str, str]) -> Digests:
    stage = step.stage
    named = {key: _digest_of(path) for key, path in step.paths.items() if key in step.in_results}
    settings = {**step.in_results, **named}  # a file counts by its content, wherever it is
    fixed = {k: v for k, v in settings.items() if k not in stage.changes}
    base = _hash([stage.table, fixed, sorted(bases.items())])
    read = {
        p.relative_to(run_dir).as_posix(): _digest_of(p)
        for glob in stage.reads(step.settings)
        for p in sorted(run_dir.glob(glob))
    }
    inputs = {**named, **read}
    full = _hash([base, settings, sorted(inputs.items()), sorted(after.values()), package_version()])
    return Digests(base, full, inputs, after, package_version())


def package_version() -> str:
    try:
        return version("neuron-signatures")
    except PackageNotFoundError:
        return "unknown"


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _digest_of(path: Path) -> str:
    """Of the content; of a large file, of its size and time."""
    try:
        files = sorted(_files(path)) if path.is_dir() else [path]
        return _hash([[str(p.relative_to(path)) if p != path else "", _of_file(p)] for p in files])
    except (OSError, NotReadableError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        raise UsageError(f"cannot be read ({reason})", where=str(path)) from e


def _of_file(path: Path) -> str:
    facts = path.stat()
    if facts.st_size > _READ_BYTES:
        return f"{facts.st_size} bytes of {facts.st_mtime_ns}"
    return sha256_file(path)


def _files(folder: Path) -> Iterator[Path]:
    for at, _, names in os.walk(folder):
        yield from (Path(at) / name for name in names)
