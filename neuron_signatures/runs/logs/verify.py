"""Checking the logs of a stage folder: every line, and what stage records say about them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.logs.following import AnotherFileError, FollowedLog
from neuron_signatures.runs.logs.names import LogKind, log_name, settings_name
from neuron_signatures.runs.logs.record import LogMeta, LogRecord, log_digest, read_log_meta, read_log_settings
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.results import meta_name

_MOST = 100
"""Faults of one log that are named."""

Index = TypeVar("Index", bound=FollowedLog)


class LogsCheck(ABC, Generic[Index]):
    """The `faults` and `remarks` of all logs of a folder, one line each. `known` are the files that belong to a log."""

    kind: ClassVar[LogKind]
    meta: ClassVar[type[LogMeta]]
    settings: ClassVar[type[LogRecord]]
    unfinished: ClassVar[tuple[str, str]]
    """A log without a record, and its pronoun."""
    never_finished: ClassVar[str] = ""
    """The log that has no record."""

    def __init__(self, run_dir: Path, manifest: Manifest) -> None:
        self.run_dir, self.manifest = run_dir, manifest
        self.faults: list[str] = []
        self.remarks: list[str] = []
        self.known: set[str] = set()
        try:
            names = self.kind.names(run_dir)
        except BadRunError as e:
            self.faults.append(e.line())
            return
        for name in self.kind.with_record(run_dir):
            if name not in names:
                self._fault(self.kind.path(run_dir, name), f"is missing, its record {meta_name(name)} is there")
        for name in names:
            self.known |= {log_name(name), settings_name(name)}
            try:
                self._check(name)
            except (FileNotFoundError, AnotherFileError):
                self.remarks.append(f"{self.kind.folder}/{log_name(name)} was removed meanwhile")
            except BadRunError as e:
                self.faults.append(e.line())

    @abstractmethod
    def read(self, name: str) -> Index:
        """The index of a log, read."""

    @abstractmethod
    def line_faults(self, index: Index) -> Iterable[str]:
        """What is wrong with single lines; each is read whole."""

    @abstractmethod
    def appended(self, index: Index, finished_at: int) -> str:
        """What is wrong with the lines after this offset, where the log was finished; empty if nothing is."""

    def _check(self, name: str) -> None:
        index = self.read(name)
        file = f"{self.kind.folder}/{log_name(name)}"
        for n, fault in enumerate(self.line_faults(index)):
            if n == _MOST:
                self.faults.append(f"{index.path}: and more")
                break
            self._fault(index.path, fault)
        if self.kind.is_finished(self.run_dir, name):
            meta = read_log_meta(self.kind, self.run_dir, name, self.meta, unfinished="is not finished")
            self._check_record(meta, index)
        elif name != self.never_finished:
            what, it = self.unfinished
            begun = read_log_settings(self.kind, self.run_dir, name, self.settings) is not None
            next_step = f"the same command finishes {it}" if begun else f"without {settings_name(name)}"
            self.remarks.append(f"{file}: {what}; {next_step}")
        if index.path.stat().st_size > index.end:
            self.remarks.append(f"{file}: a torn last line, which the next writer removes")

    def _check_record(self, meta: LogMeta, index: Index) -> None:
        size, says = index.path.stat().st_size, f"its record {meta_name(index.name)}"
        if size < meta.log_bytes:
            self._fault(index.path, f"truncated: {size} bytes, {says} has {meta.log_bytes}")
        elif log_digest(self.kind, self.run_dir, index.name, meta.log_bytes) != meta.log_sha256:
            self._fault(index.path, f"its first {meta.log_bytes} bytes differ from {says}: lines have changed")
        elif wrong := self.appended(index, meta.log_bytes):
            self._fault(index.path, wrong)

    def _fault(self, path: Path, what: str) -> None:
        self.faults.append(BadRunError(what, where=str(path), next_step=self.kind.again).line())
