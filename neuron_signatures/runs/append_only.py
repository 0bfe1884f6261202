"""Files of lines to which a process only appends, such that a killed process loses at most half of a last line."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from neuron_signatures.runs.files import explain_os_errors, whole_file
from neuron_signatures.runs.opening import has_second_name, open_in_place

log = logging.getLogger(__name__)

SYNC_SECONDS = 5.0
"""A crash of the machine, unlike that of the process, can lose the lines of so many seconds."""
_CHECKED = 4 << 20
"""Bytes of the longest last line that is checked."""


class AppendOnlyFile:
    """Appends lines to a file of a run; a context manager. The caller holds a lock.

    Neither the file nor its folder is opened through a link, and a file with a second hard link is copied first. Each
    line is written at once, so it survives the end of the process; it is on disk at the next line after `SYNC_SECONDS`,
    or after `close`.
    """

    def __init__(self, run_dir: Path, name: str, *, below: str, is_whole: Callable[[bytes], bool]) -> None:
        """A last line that has no newline, or of which `is_whole` is False, is removed: its writer was killed."""
        self.path = run_dir / below / name
        give_own_copy(run_dir, name, below=below)
        with explain_os_errors(self.path):
            self._fd = open_in_place(run_dir, name, below=below)
            self.size = self._cut(is_whole)
        self._synced_at = time.monotonic()

    def __enter__(self) -> AppendOnlyFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, line: bytes) -> None:
        """Write one line, without its newline. Raises `EnvironmentProblem` if the disk is full: the line is not there,
        earlier ones are."""
        raw = line + b"\n"
        with explain_os_errors(self.path, needed=len(raw)):
            try:
                written = 0
                while written < len(raw):
                    written += os.write(self._fd, raw[written:])
            except OSError:
                self._end_at(self.size)
                raise
            self.size += len(raw)
            if time.monotonic() - self._synced_at > SYNC_SECONDS:
                self.sync()

    def sync(self) -> None:
        """Wait until all lines are on disk."""
        with explain_os_errors(self.path):
            os.fsync(self._fd)
        self._synced_at = time.monotonic()

    def close(self) -> None:
        if self._fd < 0:
            return
        try:
            self.sync()
        finally:
            os.close(self._fd)
            self._fd = -1

    def _cut(self, is_whole: Callable[[bytes], bool]) -> int:
        """Remove a torn last line. Returns the size of the file."""
        with os.fdopen(os.dup(self._fd), "rb") as f:
            size = f.seek(0, os.SEEK_END)
            end = end_of_last_line(f)
            start = end_of_last_line(f, before=max(0, end - 1))
            f.seek(start)
            if start < end <= start + _CHECKED and not is_whole(f.read(end - start)):
                end = start
        if end < size:
            log.warning("removed %d bytes of a torn last line from %s", size - end, self.path)
        self._end_at(end)
        return end

    def _end_at(self, size: int) -> None:
        os.ftruncate(self._fd, size)
        os.lseek(self._fd, size, os.SEEK_SET)


def give_own_copy(run_dir: Path, name: str, *, below: str = "") -> None:
    """Give a file with a second hard link, such as in a copy by `cp -al`, a copy of its own."""
    with explain_os_errors(run_dir / below / name), os.fdopen(open_in_place(run_dir, name, below=below), "rb") as f:
        if has_second_name(f.fileno()):
            with whole_file(run_dir, name, below=below) as own:
                shutil.copyfileobj(f, own)


def end_of_last_line(f: BinaryIO, *, before: int | None = None) -> int:
    """The offset after the last newline; after the last one among the first `before` bytes, if given."""
    end = f.seek(0, os.SEEK_END) if before is None else before
    while end:
        start = max(0, end - (1 << 16))
        f.seek(start)
        newline = f.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
