"""`ExplanationLog` appends entries to the log of a set. The caller holds the run's lock."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from neuron_signatures.runs.append_only import AppendOnlyFile
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.index import set_names
from neuron_signatures.runs.explanations.lines import MAX_LINE, log_path, open_log
from neuron_signatures.runs.explanations.names import EXPLANATIONS, SET_RULE, is_set_name, log_name, meta_name
from neuron_signatures.runs.files import remove_files
from neuron_signatures.runs.results import table_name

_ID = re.compile(rb'"id": ?"([0-9a-f]{16})"')
_AROUND_ID = 32
"""Bytes of an id with its key, and a few more."""
_BLOCK = 8 << 20


class ExplanationLog:
    """A context manager. An appended entry survives the end of the process.

    Opening removes a torn last line. The first entry of a model that is appended to a finished set makes it unfinished:
    its stage record and table are removed, because they no longer describe it. Entries of people leave them.
    """

    def __init__(self, run_dir: Path, set_name: str) -> None:
        check_set_name(set_name)
        self.run_dir, self.set_name = run_dir, set_name
        self._file = AppendOnlyFile(run_dir, log_name(set_name), below=EXPLANATIONS, is_whole=_is_whole)
        self.path = self._file.path
        self._ids: set[str] | None = None
        self._reopened = False

    def __enter__(self) -> ExplanationLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes of the log."""
        return self._file.size

    def new_id(self) -> str:
        """An id that no entry of the run has; it is not given out again."""
        if self._ids is None:
            self._ids = ids_in_use(self.run_dir)
        while (id_ := secrets.token_hex(8)) in self._ids:
            pass
        self._ids.add(id_)
        return id_

    def append(self, entry: Entry) -> None:
        """Raises `EnvironmentProblem` if the disk is full; earlier entries stay."""
        assert entry.set == self.set_name, f"an entry of set {entry.set} for the log of {self.set_name}"
        line = entry.model_dump_json().encode()
        assert len(line) < MAX_LINE, f"an entry of {len(line)} bytes"
        if entry.author == "model":
            self._reopen()
        self._file.append(line)

    def sync(self) -> None:
        """Wait until all entries are on disk. Happens by itself every few seconds, and on `close`."""
        self._file.sync()

    def close(self) -> None:
        self._file.close()

    def _reopen(self) -> None:
        """Remove the record and the table of a finished set, once."""
        if not self._reopened and (self.run_dir / EXPLANATIONS / meta_name(self.set_name)).exists():
            names = (meta_name(self.set_name), table_name(self.set_name))
            remove_files(self.run_dir, names, below=EXPLANATIONS)
        self._reopened = True


def check_set_name(name: str) -> None:
    """Raise `UsageError` for a text that cannot be the name of a set."""
    if not is_set_name(name):
        what = f"{name[:80]!r} is no name of a set"
        raise UsageError(what, next_step=f"Use {SET_RULE}, not ending in _meta, _settings or _source")


def ids_in_use(run_dir: Path, *, sets: Sequence[str] | None = None) -> set[str]:
    """The ids of all entries of all sets of a run, or of those named, also of entries in damaged logs."""
    found: set[str] = set()
    for name in set_names(run_dir) if sets is None else sets:
        with open_log(log_path(run_dir, name)) as f:
            tail = b""
            while block := f.read(_BLOCK):
                text = tail + block
                found.update(m.decode() for m in _ID.findall(text))
                tail = text[-_AROUND_ID:]
    return found


def _is_whole(line: bytes) -> bool:
    import pydantic_core

    try:
        pydantic_core.from_json(line)
    except ValueError:
        return False
    return True
