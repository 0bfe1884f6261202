"""What a set holds already, for the stage that continues it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.index import LogIndex
from neuron_signatures.runs.explanations.lines import Line, open_set, read_entry
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.records.names import NeuronPole, Pole


class Key(NamedTuple):
    """What was asked for."""

    layer: int
    neuron: int
    pole: Pole
    mode: int | None
    sample: int
    revision: int


ChoiceKey = tuple[NeuronPole, int | None, int]
"""Pole, mode, and how many revisions there were."""


K = TypeVar("K")


class Entries(Mapping[K, Entry]):
    """Entries of a log by key. Looking one up reads its line; iteration reads nothing."""

    def __init__(self, path: Path, lines: dict[K, Line]) -> None:
        self._path, self._lines = path, lines

    def __getitem__(self, key: K) -> Entry:
        with open_set(self._path) as file:
            return read_entry(file, self._path, self._lines[key])

    def __iter__(self) -> Iterator[K]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, key: object) -> bool:
        return key in self._lines


class Done(Entries[Key]):
    """The newest explanation by the model for each key, of any status; a later success replaces a failure.

    `status` reads nothing.
    """

    def __init__(self, log: LogIndex) -> None:
        super().__init__(log.path, {})
        self._replaced: dict[Key, list[Line]] = {}
        self.chosen: dict[tuple[NeuronPole, int | None], str] = {}
        """Id of the chosen explanation, by pole and mode."""
        self.choices: Entries[ChoiceKey] = Entries(
            log.path,
            {
                (at, line.mode, line.revision): line
                for at, lines in log.poles.items()
                for line in lines
                if line.kind == "choice"
            },
        )
        locked, by_people = set(), set()
        for at in log.poles:
            for state in log.states(at):
                line = state.line
                if state.choice is not None:
                    self.chosen[at, line.mode] = line.id
                if state.locked_by is not None:
                    locked.add(at)
                if line.author == "human":
                    by_people.add(at)
                    continue
                key = Key(*at, line.mode, line.sample, line.revision)
                if state.replaced:
                    self._replaced.setdefault(key, []).append(line)
                else:
                    self._lines[key] = line
        self.locked = frozenset(locked)
        """Poles with a locked explanation: they are not explained again."""
        self.by_people = frozenset(by_people)
        """Poles of which a person wrote or edited an explanation."""

    def attempts(self, key: Key) -> list[Entry]:
        """All explanations of this key, the newest last: also failures that were repeated."""
        lines = [*self._replaced.get(key, ()), self._lines[key]]
        with open_set(self._path) as file:
            return [read_entry(file, self._path, line) for line in lines]

    def status(self, key: Key) -> Status:
        return self._lines[key].status

    def id(self, key: Key) -> str:
        return self._lines[key].id


def done_keys(run_dir: Path, set_name: str) -> Done:
    """What the set holds. Raises `BadRunError` if its log is damaged."""
    log = LogIndex(run_dir, set_name)
    if log.path.exists():
        log.read_more()
    return Done(log)
