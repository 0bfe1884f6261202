"""The explanations of a run, read once: by neuron, and all of them."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from neuron_signatures.runs.errors import BadRunError, ProjectError
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.names import EXPLANATIONS, HUMAN_SET, is_set_name, log_name, meta_name
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.fold import views_of_set
from neuron_signatures.views.explanations.shown import ExplanationView, NeuronExplanations, of_neuron
from neuron_signatures.views.explanations.table import ExplanationTable


class SetInfo(NamedTuple):
    """One set of explanations."""

    name: str
    n: int
    """Explanations, failed ones included."""
    n_failed: int
    is_finished: bool


class RunExplanations:
    """All explanations of a run as they were on disk when it was made."""

    def __init__(self, views: list[ExplanationView], sets: list[SetInfo], problems: list[str]) -> None:
        self.views = views
        self.sets = sets
        self.problems = problems
        """One line for each set that cannot be read."""

    @classmethod
    def read(cls, run_dir: Path) -> RunExplanations:
        """Empty without explanations; a set that cannot be read becomes a problem."""
        views: list[ExplanationView] = []
        sets: list[SetInfo] = []
        problems: list[str] = []
        for name in _set_names(run_dir):
            try:
                entries = _entries(run_dir / EXPLANATIONS / log_name(name))
            except (ProjectError, OSError) as e:
                problems.append(f"{log_name(name)}: {e}")
                continue
            finished = name == HUMAN_SET or (run_dir / EXPLANATIONS / meta_name(name)).is_file()
            own = views_of_set(entries, is_finished=finished)
            views += own
            sets.append(SetInfo(name, len(own), sum(not v.is_ok for v in own), finished))
        return cls(views, sets, problems)

    @property
    def is_empty(self) -> bool:
        return not self.views

    @cached_property
    def _by_neuron(self) -> dict[NeuronAt, list[ExplanationView]]:
        found: dict[NeuronAt, list[ExplanationView]] = {}
        for v in self.views:
            found.setdefault(v.at, []).append(v)
        return found

    def of(self, at: NeuronAt) -> NeuronExplanations:
        """The explanations of one neuron, both poles in the order to read."""
        return of_neuron(at, self._by_neuron.get(at, []))

    @cached_property
    def table(self) -> ExplanationTable:
        return ExplanationTable(tuple(self.views))


def has_explanations(run_dir: Path) -> bool:
    """Whether there is a log of explanations; it may be damaged."""
    return bool(_set_names(run_dir))


def _set_names(run_dir: Path) -> list[str]:
    try:
        found = sorted((run_dir / EXPLANATIONS).glob("*.jsonl"))
    except OSError:
        return []
    return [p.stem for p in found if is_set_name(p.stem)]


def _entries(path: Path) -> list[Entry]:
    lines = path.read_bytes().split(b"\n")[:-1]
    found = []
    for i, text in enumerate(lines, 1):
        try:
            found.append(Entry.model_validate(json.loads(text)))
        except (ValueError, ValidationError) as e:
            raise BadRunError(f"line {i} is not an entry", where=path.name) from e
    return found
