"""The index of one log: its lines by pole of a neuron, in few bytes each."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.explanations.lines import Line, log_path, open_log, read_lines
from neuron_signatures.runs.explanations.names import EXPLANATIONS, is_set_name, log_name
from neuron_signatures.runs.explanations.resolve import State, resolve
from neuron_signatures.runs.records.names import NeuronPole

MAX_SETS = 1000
MAX_LINES = 3_000_000
"""Lines that are read, of all sets together: an index of so many takes 2 GB of memory."""
MAX_CHARACTERS = 256 << 20
"""Of the texts that the index keeps, of all sets together."""


class AnotherFileError(Exception):
    """The log is not the one that was read before."""


class LogIndex:
    """The index of one log. `end` is the offset up to which it was read."""

    def __init__(self, run_dir: Path, name: str) -> None:
        self.name = name
        self.path = log_path(run_dir, name)
        self.finished = False
        self.end = 0
        self.file_id = (0, 0)
        self.poles: dict[NeuronPole, list[Line]] = {}
        self.at_of: dict[str, NeuronPole] = {}
        self.n_lines = self.n_characters = 0

    def read_more(self) -> set[NeuronPole]:
        """Read the lines that were appended. Returns the poles of neurons that they are about."""
        changed: set[NeuronPole] = set()
        try:
            with open_log(self.path) as file:
                found = os.fstat(file.fileno())
                if self.end and (found.st_size < self.end or self.file_id != (found.st_dev, found.st_ino)):
                    raise AnotherFileError(self.path)
                self.file_id = (found.st_dev, found.st_ino)
                for line in read_lines(file, self.path, start=self.end):
                    self.poles.setdefault(line.at, []).append(line)
                    changed.add(line.at)
                    if line.kind == "explanation":
                        self.at_of[line.id] = line.at
                    self.end = line.start + line.size
                    self.n_lines += 1
                    self.n_characters += len(line.text)
                    if self.n_lines > MAX_LINES or self.n_characters > MAX_CHARACTERS:
                        raise too_large(self.path)
        except FileNotFoundError as e:
            raise AnotherFileError(self.path) from e
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


def set_names(run_dir: Path) -> list[str]:
    """The sets of a run that have a log, by name. Raises `BadRunError` if there are more than `MAX_SETS`."""
    folder = run_dir / EXPLANATIONS
    try:
        names = [p.name for p in folder.iterdir() if p.name.endswith(log_name(""))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as e:
        raise BadRunError(f"cannot be read ({e.strerror or e})", where=str(folder)) from e
    sets = sorted(name for n in names if is_set_name(name := n.removesuffix(log_name(""))))
    if len(sets) > MAX_SETS:
        raise BadRunError(f"has {len(sets)} sets; {MAX_SETS} can be read", where=str(folder))
    return sets
