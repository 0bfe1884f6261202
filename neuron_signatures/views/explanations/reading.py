"""The explanations of a run as they are on disk: by neuron, and all of them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.explanations.names import HUMAN_SET, SETS
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.explanations.shown import SetInfo
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.shown import ExplanationView, NeuronExplanations, of_neuron, views_of
from neuron_signatures.views.explanations.table import ExplanationTable, rows_of


class RunExplanations:
    """Opened once; methods read the logs, so they raise `BadRunError` if one has been damaged since."""

    def __init__(self, opened: list[Explanations], problems: list[str]) -> None:
        self._opened = opened
        self.problems = problems
        """One line for each set that cannot be read."""

    @classmethod
    def read(cls, run_dir: Path) -> RunExplanations:
        """Empty without explanations; a set that cannot be read becomes a problem."""
        opened: list[Explanations] = []
        problems: list[str] = []
        try:
            names = SETS.names(run_dir)
        except ProjectError as e:
            return cls([], [e.line()])
        for name in names:
            try:
                opened.append(Explanations.open(run_dir, sets=[name]))
            except (ProjectError, OSError) as e:
                problems.append(e.line() if isinstance(e, ProjectError) else f"{name}: {brief(str(e))}")
        return cls(opened, problems)

    @cached_property
    def sets(self) -> list[SetInfo]:
        """By name."""
        return [info for e in self._opened for info in e.sets]

    @property
    def is_empty(self) -> bool:
        """Whether no set can be read, or all are empty."""
        return not any(s.n_poles for s in self.sets)

    def of(self, at: NeuronAt) -> NeuronExplanations:
        """The explanations of one neuron, both poles in the order to read."""
        found = [s for e in self._opened for s in e.of(*at)]
        return of_neuron(at, views_of(found, self._finished))

    def get(self, id_: str) -> ExplanationView | None:
        """The explanation with this id; None if there is none."""
        for e in self._opened:
            if (found := e.get(id_)) is not None:
                at = NeuronAt(found.entry.layer, found.entry.neuron)
                return next(v for v in self.of(at).shown if v.entry.id == id_)
        return None

    @cached_property
    def table(self) -> ExplanationTable:
        """Every explanation of the run, without requests that failed and were sent again later. Reads all logs."""
        return ExplanationTable(tuple(row for e in self._opened for row in rows_of(e.all(), self._finished)))

    @cached_property
    def _finished(self) -> dict[str, bool]:
        return {s.name: is_finished(s) for s in self.sets}


def has_explanations(run_dir: Path) -> bool:
    """Whether there is a log of explanations; it may be damaged."""
    try:
        return Explanations.exist(run_dir)
    except ProjectError:
        return True


def is_finished(info: SetInfo) -> bool:
    """Whether a stage finished the set; what people write without one needs none."""
    return info.finished or info.name == HUMAN_SET
