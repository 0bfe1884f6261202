"""The index of one log: its lines by pole of a neuron, in few bytes each."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.explanations.lines import Line, parse_line
from neuron_signatures.runs.explanations.names import SETS
from neuron_signatures.runs.explanations.resolve import State, resolve
from neuron_signatures.runs.logs.following import FollowedLog
from neuron_signatures.runs.records.names import NeuronPole

MAX_LINES = 3_000_000
"""Lines that are read, of all sets together: an index of so many takes 2 GB of memory."""
MAX_CHARACTERS = 256 << 20
"""Of the texts that the index keeps, of all sets together."""


class LogIndex(FollowedLog):
    """The index of one log."""

    def __init__(self, run_dir: Path, name: str) -> None:
        super().__init__(SETS, run_dir, name)
        self.finished = False
        self.poles: dict[NeuronPole, list[Line]] = {}
        self.at_of: dict[str, NeuronPole] = {}
        self.n_lines = self.n_characters = 0

    def read_more(self) -> set[NeuronPole]:
        """Read the lines that were appended. Returns the poles that they are about. Raises `AnotherFileError`."""
        changed: set[NeuronPole] = set()
        for line in self._new_lines(parse_line):
            self.poles.setdefault(line.at, []).append(line)
            changed.add(line.at)
            if line.kind == "explanation":
                self.at_of[line.id] = line.at
            self.n_lines += 1
            self.n_characters += len(line.text)
            if self.n_lines > MAX_LINES or self.n_characters > MAX_CHARACTERS:
                raise too_large(self.path)
        return changed

    def states(self, at: NeuronPole) -> list[State]:
        """The explanations of a pole, in the order of the log."""
        return resolve(self.poles.get(at, ()))


def check_total(logs: Collection[LogIndex], folder: Path) -> None:
    """Raise `BadRunError` if the sets together are too large to be read."""
    if sum(log.n_lines for log in logs) > MAX_LINES or sum(log.n_characters for log in logs) > MAX_CHARACTERS:
        raise too_large(folder)


def too_large(path: Path) -> BadRunError:
    what = f"has more than {MAX_LINES:,} lines or {MAX_CHARACTERS >> 20} million characters of explanations"
    return BadRunError(what, where=str(path), next_step="Move some sets out of the folder, or read single ones")
