"""The explanations of a set that are scored: the current ones, and those that failed."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.index import LogIndex
from neuron_signatures.runs.explanations.lines import Line, open_set, read_entry
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.logs.following import AnotherFileError
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.scoring.simulators.base import Said


class Failed(NamedTuple):
    """An explanation that cannot be scored."""

    id: str
    status: Status
    reason: str


class SetTexts:
    """A context manager. Texts are read when they are asked for; only keys are kept."""

    def __init__(self, run_dir: Path, name: str) -> None:
        """Raises `UsageError` if there is no such set, `BadRunError` if its log is damaged."""
        self.name = name
        self._index = LogIndex(run_dir, name)
        try:
            self._index.read_more()
        except AnotherFileError as e:
            raise UsageError(f"there is no set {name!r}", where=str(self._index.path)) from e
        self._file = open_set(self._index.path)
        self.current: dict[NeuronPole, list[Line]] = {}
        """With the status ok, by pole: one, or one per mode."""
        self._failed: dict[NeuronPole, Line] = {}
        for at in self._index.poles:
            states = self._index.states(at)
            current = [s.line for s in states if s.current and s.line.status == "ok"]
            if current:
                self.current[at] = sorted(current, key=lambda line: line.mode or 0)
            elif failed := [s.line for s in states if not s.replaced and s.line.status != "ok"]:
                self._failed[at] = failed[0]

    def __enter__(self) -> SetTexts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, at: NeuronPole) -> bool:
        """Whether the set has an explanation of a pole, or a failed one."""
        return at in self.current or at in self._failed

    @property
    def poles(self) -> list[NeuronPole]:
        """With a current explanation, sorted."""
        return sorted(self.current)

    def said(self, line: Line) -> Said:
        entry = read_entry(self._file, self._index.path, line)
        return Said(entry.text, entry.rule)

    def failed(self, at: NeuronPole) -> Failed | None:
        """The first failure of a pole without a current explanation."""
        line = self._failed.get(at)
        if line is None:
            return None
        entry = read_entry(self._file, self._index.path, line)
        return Failed(entry.id, entry.status, entry.reason)
