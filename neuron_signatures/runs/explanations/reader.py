"""`Explanations` reads the explanations of a run, also of sets that a process is writing. It never locks or writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.index import LogIndex, check_total
from neuron_signatures.runs.explanations.lines import Line, open_set, read_entry
from neuron_signatures.runs.explanations.names import EXPLANATIONS, SETS
from neuron_signatures.runs.explanations.resolve import lineage
from neuron_signatures.runs.explanations.rows import Search, all_rows, order, replace_rows
from neuron_signatures.runs.explanations.shown import Choice, Note, Row, SetInfo, Shown, Vote
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.logs.following import AnotherFileError
from neuron_signatures.runs.records.names import POLES, NeuronPole, Pole
from neuron_signatures.runs.results import meta_name
from neuron_signatures.runs.run import Run

__all__ = ["Choice", "Explanations", "Note", "Row", "SetInfo", "Shown", "Vote"]


class Explanations:
    """The explanations of a run. Opening reads the keys that lists need of every line; the rest is read when shown.

    Damaged logs raise `BadRunError` with the file and the line. Not thread-safe.
    """

    def __init__(self, run_dir: Path, logs: Sequence[LogIndex], only: Sequence[str] | None) -> None:
        self.path = run_dir
        self._logs = {log.name: log for log in logs}
        self._only = only
        self._rows: list[Row] | None = None
        self._infos: dict[str, SetInfo] = {}

    @classmethod
    def open(cls, run: Run | Path | str, *, sets: Sequence[str] | None = None) -> Explanations:
        """The explanations of a run, or of the run in a folder: of all sets, or of those named. May be none.

        Raises `UsageError` for a set that does not exist, `BadRunError` if a log is damaged.
        """
        run_dir = run.path if isinstance(run, Run) else Path(run)
        logs: list[LogIndex] = []
        for name in _chosen_sets(run_dir, sets):
            logs.append(_new_log(run_dir, name))
            check_total(logs, run_dir / EXPLANATIONS)
        return cls(run_dir, logs, sets)

    @staticmethod
    def exist(run_dir: Path) -> bool:
        """Whether the run has a set of explanations, finished or not."""
        return bool(SETS.names(run_dir))

    def refresh(self) -> bool:
        """Read what was appended, and new sets. Returns whether anything changed."""
        names = _chosen_sets(self.path, self._only)
        if forgotten := tuple(names) != self.set_names:
            self._logs = {name: self._logs.get(name) or LogIndex(self.path, name) for name in names}
            self._forget()
        changed = [self._refresh(name) for name in names]
        check_total(self._logs.values(), self.path / EXPLANATIONS)
        return any(changed) or forgotten

    def _refresh(self, name: str) -> bool:
        """Read what was appended to one log. Returns whether it changed."""
        log = self._logs[name]
        finished = log.finished
        try:
            changed = _read(log, self.path)
        except AnotherFileError:
            self._logs[name] = _new_log(self.path, name)
            self._forget()
            return True
        if changed and self._rows is not None:
            replace_rows(self._rows, log, changed)
        if changed or log.finished != finished:
            self._infos.pop(name, None)
        return bool(changed) or log.finished != finished

    @property
    def set_names(self) -> tuple[str, ...]:
        return tuple(self._logs)

    @property
    def sets(self) -> tuple[SetInfo, ...]:
        """By name."""
        for name, log in self._logs.items():
            if name not in self._infos:
                self._infos[name] = _info(log)
        return tuple(self._infos[name] for name in self._logs)

    @property
    def ends(self) -> dict[str, int]:
        """How many bytes of each log were read."""
        return {name: log.end for name, log in self._logs.items()}

    def _forget(self) -> None:
        self._rows, self._infos = None, {}

    def of(self, layer: int, neuron: int, pole: Pole | None = None) -> list[Shown]:
        """The explanations of a neuron, or of one pole: + first, by set, the current one of each first."""
        poles = POLES if pole is None else (pole,)
        return [
            shown for p in poles for log in self._logs.values() for shown in _all_of(log, NeuronPole(layer, neuron, p))
        ]

    def current(self, at: NeuronPole, set_name: str) -> list[Shown]:
        """The current explanations of a pole in a set: one, or one per mode, or none."""
        log = self._logs.get(set_name)
        return [] if log is None else [shown for shown in _all_of(log, at) if shown.current]

    def get(self, id_: str) -> Shown | None:
        """The explanation with this id; None if there is none."""
        for log in self._logs.values():
            if id_ in log.at_of:
                return next(s for s in _all_of(log, log.at_of[id_]) if s.id == id_)
        return None

    def all(self) -> Iterator[Shown]:
        """Every explanation, by set, layer, neuron and pole."""
        for log in self._logs.values():
            for at in sorted(log.poles, key=order):
                yield from _all_of(log, at)

    def rows(self) -> Sequence[Row]:
        """Every explanation, by layer, neuron, pole and set, in few bytes each. Made once and kept."""
        if self._rows is None:
            self._rows = all_rows(self._logs.values())
        return self._rows

    def search(
        self, text: str = "", *, status: Status | None = None, explainer: str | None = None, set: str | None = None,
        pole: Pole | None = None, author: Literal["human", "model"] | None = None, locked: bool | None = None,
        current: bool | None = None,
    ) -> list[Row]:  # fmt: skip
        """The rows whose text has every word of `text` (case is ignored) and that have the values given.

        A word such as `L3`, `L3N508` or `L3N508+` selects this layer, neuron or pole instead.
        """
        return Search(text, status, explainer, set, pole, author, locked, current).rows(self.rows())


def _chosen_sets(run_dir: Path, wanted: Sequence[str] | None) -> list[str]:
    there = SETS.names(run_dir)
    if wanted is None:
        return there
    if missing := [name for name in wanted if name not in there]:
        held = f"there are {', '.join(there[:10])}" if there else "it has none"
        raise UsageError(f"no set {missing[0]!r} ({held})", where=str(run_dir / EXPLANATIONS))
    return sorted(dict.fromkeys(wanted))


def _new_log(run_dir: Path, name: str) -> LogIndex:
    log = LogIndex(run_dir, name)
    try:
        _read(log, run_dir)
    except AnotherFileError as e:
        raise BadRunError("was removed while it was read", where=str(log.path), next_step="Open the run again") from e
    return log


def _read(log: LogIndex, run_dir: Path) -> set[NeuronPole]:
    """Read what was appended. Returns the poles that it is about."""
    log.finished = (run_dir / EXPLANATIONS / meta_name(log.name)).is_file()
    return log.read_more()


def _info(log: LogIndex) -> SetInfo:
    counts: Counter[Status] = Counter()
    n_people = 0
    explainers: dict[str, None] = {}
    models: dict[str, None] = {}
    for at in log.poles:
        for state in log.states(at):
            line = state.line
            n_people += line.author == "human"
            if not state.replaced:
                counts[line.status] += 1
            if line.author == "model":
                explainers[line.explainer] = None
            if line.model:
                models[line.model] = None
    n_poles = len(log.poles)
    return SetInfo(log.name, log.finished, dict(counts), n_poles, n_people, tuple(explainers), tuple(models))


def _all_of(log: LogIndex, at: NeuronPole) -> list[Shown]:
    states = log.states(at)
    if not states:
        return []
    entries: dict[str, Entry] = {}
    with open_set(log.path) as file:

        def entry(line: Line) -> Entry:
            if line.id not in entries:
                entries[line.id] = read_entry(file, log.path, line)
            return entries[line.id]

        shown = [
            Shown(
                entry=entry(s.line),
                current=s.current,
                votes=tuple(Vote(who, value) for who, value in s.votes.items()),
                locked_by=s.locked_by,
                notes=tuple(_note(entry(n)) for n in s.notes),
                choice=None if s.choice is None else _choice(entry(s.choice)),
                chain=tuple(entry(p.line) for p in lineage(s)),
                children=tuple(c.line.id for c in s.children),
                replaced=s.replaced,
            )
            for s in states
        ]
    return sorted(shown, key=lambda s: not s.current)


def _note(entry: Entry) -> Note:
    return Note(entry.author_name or "", entry.text, entry.created_at_utc)


def _choice(entry: Entry) -> Choice:
    return Choice(entry.select_by or "", dict(entry.values or {}))
