"""`StageLog` appends lines to a log. The caller holds the run's lock."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TypeVar

from pydantic import BaseModel

from neuron_signatures.runs.append_only import AppendOnlyFile
from neuron_signatures.runs.files import remove_files
from neuron_signatures.runs.logs.names import LogKind, log_name
from neuron_signatures.runs.results import meta_name, table_name

Log = TypeVar("Log", bound="StageLog")


class StageLog:
    """A context manager. An appended line survives the end of the process. Opening removes a torn last line."""

    def __init__(self, kind: LogKind, run_dir: Path, name: str) -> None:
        self.run_dir, self.name, self._kind = run_dir, name, kind
        self._file = AppendOnlyFile(run_dir, log_name(name), below=kind.folder, is_whole=_is_whole)
        self.path = self._file.path
        self._reopened = False

    def __enter__(self: Log) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes of the log."""
        return self._file.size

    def sync(self) -> None:
        """Wait until all lines are on disk. Happens by itself every few seconds, and on `close`."""
        self._file.sync()

    def close(self) -> None:
        self._file.close()

    def _append(self, line: BaseModel, *, reopen: bool = True) -> None:
        """Raises `EnvironmentProblem` if the disk is full; earlier lines stay.

        The first line with `reopen` makes a finished log unfinished: its stage record and its table are removed,
        because they no longer describe it.
        """
        raw = line.model_dump_json().encode()
        assert len(raw) < self._kind.max_line, f"a line of {len(raw)} bytes"
        if reopen and not self._reopened:
            if (self.run_dir / self._kind.folder / meta_name(self.name)).exists():
                remove_files(self.run_dir, (meta_name(self.name), table_name(self.name)), below=self._kind.folder)
            self._reopened = True
        self._file.append(raw)


def _is_whole(line: bytes) -> bool:
    import pydantic_core

    try:
        pydantic_core.from_json(line)
    except ValueError:
        return False
    return True
