"""Reading a log on from where reading ended before, while a process appends to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from neuron_signatures.runs.logs.lines import open_log, parsed_lines
from neuron_signatures.runs.logs.names import LogKind


class AnotherFileError(Exception):
    """The log is not the one that was read before, or is gone."""


class Placed(Protocol):
    """A line that says where it is."""

    @property
    def start(self) -> int: ...
    @property
    def size(self) -> int: ...


Kept = TypeVar("Kept", bound=Placed)


class FollowedLog:
    """What the indexes of logs share. `end` is the offset up to which the log was read."""

    def __init__(self, kind: LogKind, run_dir: Path, name: str) -> None:
        self.name, self._kind = name, kind
        self.path = kind.path(run_dir, name)
        self.end = 0
        self._file_id = (0, 0)

    def _new_lines(self, parse: Callable[[bytes, int], Kept]) -> Iterator[Kept]:
        """The lines that were appended, as `parsed_lines`.

        Raises `AnotherFileError` if the log is not the one that was read before, or is gone.
        """
        try:
            with self._opened() as file:
                for line in parsed_lines(self._kind, file, self.path, parse, start=self.end):
                    self.end = line.start + line.size
                    yield line
        except FileNotFoundError as e:
            raise AnotherFileError(self.path) from e

    def _opened(self) -> BinaryIO:
        file = open_log(self._kind, self.path)
        found = os.fstat(file.fileno())
        if self.end and (found.st_size < self.end or self._file_id != (found.st_dev, found.st_ino)):
            file.close()
            raise AnotherFileError(self.path)
        self._file_id = (found.st_dev, found.st_ino)
        return file
