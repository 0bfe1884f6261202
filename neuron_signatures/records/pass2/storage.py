"""The values of an unfinished second pass: memory-mapped files, and how many batches they hold."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import explain_os_errors, free_bytes, remove_files, write_text
from neuron_signatures.runs.opening import open_in_place
from neuron_signatures.runs.records.names import RECORDS

_STATE = "pass2_partial.json"
_FILES = ("pass2_partial_sample.bin", "pass2_partial_rows.bin")


class PartialValues:
    """`sample` and `rows` are float32 arrays on disk; `n_done` batches are in them and synced.

    Raises `UsageError` if the folder holds a pass with other `settings`.
    """

    def __init__(self, run_dir: Path, settings: Mapping[str, Any], sample_shape: tuple[int, int], n_rows: int) -> None:
        self._run_dir, self._settings = run_dir, dict(settings)
        self._files: list[BinaryIO] = []
        self.n_done = self._read()
        self.sample = self._mapped(_FILES[0], sample_shape)
        self.rows = self._mapped(_FILES[1], (n_rows,))

    def save(self, n_done: int) -> None:
        """Sync the values of the first `n_done` batches."""
        for array in (self.sample, self.rows):
            if isinstance(array, np.memmap):
                array.flush()
        self.n_done = n_done
        text = json.dumps({"settings": self._settings, "n_done": n_done})
        write_text(self._run_dir, _STATE, text, below=RECORDS)

    def close(self) -> None:
        for file in self._files:
            file.close()

    def remove(self) -> None:
        self.close()
        remove_files(self._run_dir, (_STATE, *_FILES), below=RECORDS)

    def _read(self) -> int:
        path = self._run_dir / RECORDS / _STATE
        try:
            found = read_json_file(path, max_bytes=RECORD_BYTES)
        except FileNotFoundError:
            return 0
        if not isinstance(found, dict) or not isinstance(found.get("n_done"), int):
            raise BadRunError("is not the state of a second pass", where=str(path), next_step="Use --overwrite")
        if found.get("settings") != json.loads(json.dumps(self._settings)):
            raise UsageError(
                "holds a second pass for other neurons or settings",
                where=str(path),
                next_step="Repeat the command with those flags, or remove this file",
            )
        return int(found["n_done"])

    def _mapped(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        size = 4 * int(np.prod(shape, dtype=np.int64))
        if not size:
            return np.zeros(shape, np.float32)
        path = self._run_dir / RECORDS / name
        with explain_os_errors(path, needed=size):
            file = os.fdopen(open_in_place(path.parent, name), "r+b")
            self._files.append(file)
            if os.fstat(file.fileno()).st_size != size:
                _allocate(file, size, path)
                self.n_done = 0
        return np.memmap(file, np.float32, "r+", shape=shape)


def _allocate(file: BinaryIO, size: int, path: Path) -> None:
    """Give the file its size and space on the disk: on a full disk, writing to a mapped file would kill the process."""
    file.truncate(0)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    if free_bytes(path.parent) < size:
        raise OSError(28, "no space left on the disk")
    file.truncate(size)


def has_partial_values(run_dir: Path) -> bool:
    """Whether a second pass was stopped in this run."""
    return (run_dir / RECORDS / _STATE).exists()


def partial_neurons(run_dir: Path) -> list[str] | None:
    """The neurons of a second pass that was stopped; None if there is none."""
    try:
        found = read_json_file(run_dir / RECORDS / _STATE, max_bytes=RECORD_BYTES)
    except FileNotFoundError:
        return None
    settings = found.get("settings") if isinstance(found, dict) else None
    names = settings.get("neurons") if isinstance(settings, dict) else None
    return names if isinstance(names, list) else []


def remove_partial_values(run_dir: Path) -> None:
    """Remove what a stopped second pass left."""
    remove_files(run_dir, (_STATE, *_FILES), below=RECORDS)
