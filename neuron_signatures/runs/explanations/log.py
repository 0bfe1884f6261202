"""`ExplanationLog` appends entries to the log of a set. The caller holds the run's lock."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.lines import open_set
from neuron_signatures.runs.explanations.names import SET_RULE, SETS
from neuron_signatures.runs.logs.appending import StageLog

_ID = re.compile(rb'"id": ?"([0-9a-f]{16})"')
_AROUND_ID = 32
"""Bytes of an id with its key, and a few more."""
_BLOCK = 8 << 20


class ExplanationLog(StageLog):
    """The first entry of a model that is appended to a finished set makes it unfinished. Entries of people do not."""

    def __init__(self, run_dir: Path, set_name: str) -> None:
        check_set_name(set_name)
        super().__init__(SETS, run_dir, set_name)
        self._ids: set[str] | None = None

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
        assert entry.set == self.name, f"an entry of set {entry.set} for the log of {self.name}"
        self._append(entry, reopen=entry.author == "model")


def check_set_name(name: str) -> None:
    """Raise `UsageError` for a text that cannot be the name of a set."""
    if not SETS.is_name(name):
        what = f"{name[:80]!r} is no name of a set"
        raise UsageError(what, next_step=f"Use {SET_RULE}, not ending in _meta, _settings or _source")


def ids_in_use(run_dir: Path, *, sets: Sequence[str] | None = None) -> set[str]:
    """The ids of all entries of all sets of a run, or of those named, also of entries in damaged logs."""
    found: set[str] = set()
    for name in SETS.names(run_dir) if sets is None else sets:
        with open_set(SETS.path(run_dir, name)) as f:
            tail = b""
            while block := f.read(_BLOCK):
                text = tail + block
                found.update(m.decode() for m in _ID.findall(text))
                tail = text[-_AROUND_ID:]
    return found
