"""The explanations of a run in memory, shared by all sessions.

They are keyed by the stamps of their files. Logs are only appended to, so an open reader reads what was added.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import streamlit as st

from neuron_signatures.dashboard.data.cached_reads import key_of
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.explanations.shown import SetInfo
from neuron_signatures.runs.logs.names import log_name
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.views.changes import Stamp, explanation_stamps
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.reading import RunExplanations
from neuron_signatures.views.explanations.shown import NeuronExplanations
from neuron_signatures.views.explanations.table import ExplanationRow, ExplanationTable, Wanted, rows_of
from neuron_signatures.views.explanations.texts import one_line, short

_SLOW = 2.0
"""Seconds; a list that took longer is not made again whenever a stage adds explanations, but when it is asked for."""
_MOST_QUERIES = 4


@dataclass
class ExplanationList:
    """All explanations of the run as they were when it was made, with the answers to the last queries."""

    key: str
    table: ExplanationTable
    took: float
    made_at: float
    """`time.time()`."""
    _found: dict[Wanted, list[ExplanationRow]] = field(default_factory=dict)
    _names: dict[str, list[str]] = field(default_factory=dict)

    def rows(self, wanted: Wanted) -> list[ExplanationRow]:
        """Those that fit, in the wanted order; read only."""
        if wanted not in self._found:
            while len(self._found) >= _MOST_QUERIES:
                self._found.pop(next(iter(self._found)), None)
            self._found[wanted] = self.table.rows(wanted)
        return self._found[wanted]

    def names(self, kind: str) -> list[str]:
        """The values of `sets`, `statuses`, `explainers` or `authors`, raw."""
        if kind not in self._names:
            self._names[kind] = getattr(self.table, kind)
        return self._names[kind]


class SharedExplanations:
    """The explanations of one run. Every method takes the key of the files as they are now."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._lock = threading.RLock()
        self._key: str | None = None
        self._reader: Explanations | None = None
        """Of all sets; None if one is damaged."""
        self._run = RunExplanations([], [])
        self._list: ExplanationList | None = None
        self._texts: dict[NeuronPole, str] = {}
        self._by_id: dict[str, str] = {}

    def problems(self, key: str) -> list[str]:
        """One line for each set that cannot be read."""
        with self._lock:
            self._update(key)
            return list(self._run.problems)

    def is_empty(self, key: str) -> bool:
        with self._lock:
            self._update(key)
            return self._run.is_empty

    def sets(self, key: str) -> list[SetInfo]:
        with self._lock:
            self._update(key)
            return list(self._run.sets)

    def of(self, key: str, at: NeuronAt) -> NeuronExplanations:
        """Raises `BadRunError` if a log has been damaged since it was opened."""
        with self._lock:
            self._update(key)
            try:
                return self._run.of(at)
            except ProjectError:  # the log may have been replaced by another of the same name
                self._reader = self._key = None
                self._update(key)
                return self._run.of(at)

    def texts(self, key: str, poles: Sequence[NeuronPole]) -> list[str]:
        """The explanation to read of each pole with its origin, on one line and escaped; empty if there is none."""
        with self._lock:
            self._update(key)
            for at in poles:
                if at not in self._texts:
                    self._texts[at] = short(self.of(key, NeuronAt(at.layer, at.neuron)), at.pole)
            return [self._texts[at] for at in poles]

    def texts_by_id(self, key: str, ids: Sequence[str]) -> list[str]:
        """What explanations say, on one line and escaped; empty if there is none of this id, or it says nothing."""
        with self._lock:
            self._update(key)
            for id_ in ids:
                if id_ not in self._by_id:
                    view = self._run.get(id_)
                    self._by_id[id_] = one_line(view.entry.text) if view is not None and view.is_ok else ""
            return [self._by_id[id_] for id_ in ids]

    def needs_update(self, key: str) -> bool:
        """Whether there is a list that is older than the files and takes long to make."""
        return self._list is not None and self._list.key != key and self._list.took > _SLOW

    def listed(self, key: str, *, update: bool = False) -> ExplanationList:
        """The list; one that takes long to make is of older files unless `update`. Raises as `of`."""
        with self._lock:
            found = self._list
            if found is not None and (found.key == key or (self.needs_update(key) and not update)):
                return found
            self._update(key)
            begun = time.monotonic()
            table = self._run.table
            self._list = ExplanationList(key, table, time.monotonic() - begun, time.time())
            return self._list

    def write(self, add: Callable[[Explanations | None], Entry]) -> Entry:
        """Call `add` with an open reader, and keep the list up to date. Raises what `add` raises."""
        with self._lock:
            before = self._key_now()
            if self._reader is not None:
                self._update(before)
            entry = add(self._reader)
            key = self._key_now()
            self._update(key)
            if self._list is not None and self._list.key == before and self._reader is not None:
                self._list = self._with_pole(self._list, key, entry)
            return entry

    def _with_pole(self, old: ExplanationList, key: str, entry: Entry) -> ExplanationList:
        """The list with the rows of one pole of one set as they are now, in the place of the old ones."""
        assert self._reader is not None
        at = NeuronAt(entry.layer, entry.neuron)
        found = [s for s in self._reader.of(entry.layer, entry.neuron, entry.pole) if s.set == entry.set]
        every = old.table.every
        stale = [i for i, r in enumerate(every) if r.at == at and r.pole == entry.pole and r.set == entry.set]
        new = tuple(rows_of(found, {entry.set: not stale or every[stale[0]].is_finished}))
        first, end = (stale[0], stale[-1] + 1) if stale else (len(every), len(every))
        return replace(old, key=key, table=ExplanationTable((*every[:first], *new, *every[end:])), _found={}, _names={})

    def _key_now(self) -> str:
        return key_of(self._run_dir, explanation_stamps(self._run_dir))

    def _update(self, key: str) -> None:
        if key == self._key:
            return
        self._texts, self._by_id = {}, {}
        try:
            if self._reader is None:
                self._reader = Explanations.open(self._run_dir)
            else:
                self._reader.refresh()
            self._run = RunExplanations([self._reader], [])
        except (ProjectError, OSError):  # then the other sets are shown
            self._reader = None
            self._run = RunExplanations.read(self._run_dir)
        self._key = key


@st.cache_resource(show_spinner=False, max_entries=2)
def shared(run_dir: Path) -> SharedExplanations:
    return SharedExplanations(run_dir)


def replaced_logs(before: Mapping[str, Stamp], now: Mapping[str, Stamp]) -> list[str]:
    """Names of the logs that are gone, shorter, or another file; a log that grew is as before."""
    logs = [name for name in before if name.endswith(log_name(""))]
    return [
        name for name in sorted(logs)
        if (new := now.get(name)) is None or new.size < before[name].size or new.inode != before[name].inode
    ]  # fmt: skip


def texts_by_id(ctx: PageContext, ids: Sequence[str]) -> list[str]:
    """As `SharedExplanations.texts_by_id`; empty too where they cannot be read."""
    try:
        found: list[str] = shared(ctx.run_dir).texts_by_id(ctx.explanations_key, ids)
    except (ProjectError, OSError):  # the views of explanations report it
        return [""] * len(ids)
    return found


def explained_in_words(ctx: PageContext, poles: Sequence[NeuronPole]) -> list[str]:
    """The explanation to read of each pole, on one line and escaped; empty if there is none, or it cannot be read."""
    try:
        found: list[str] = shared(ctx.run_dir).texts(ctx.explanations_key, poles)
    except (ProjectError, OSError):  # the views of explanations report it
        return [""] * len(poles)
    return found
