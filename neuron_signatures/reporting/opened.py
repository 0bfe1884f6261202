"""A run as the sections read it: everything is opened once, and a damaged part becomes one line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

from neuron_signatures.reporting.choice import Choice, choose
from neuron_signatures.reporting.settings import Detail, Settings
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.reader import ScoredSet, ScoreRow, Scores
from neuron_signatures.views.explanations.reading import RunExplanations
from neuron_signatures.views.lists.list_files import list_refs
from neuron_signatures.views.lists.ranked import ListRef
from neuron_signatures.views.neurons.descriptions import Descriptions, read_descriptions
from neuron_signatures.views.records.commands import has_records

T = TypeVar("T")


class Part(NamedTuple, Generic[T]):
    """A part of a run, or why it cannot be read."""

    value: T | None
    problem: str = ""


def attempt(read: Callable[[], T]) -> Part[T]:
    """What `read` returns, or the line of its error."""
    try:
        return Part(read())
    except ProjectError as e:
        return Part(None, e.line())
    except OSError as e:
        return Part(None, f"{e.filename or 'a file'}: cannot be read ({e.strerror or e})")


@dataclass
class ReportRun:
    """One run and what the report is asked for. Close it, or use it as a context manager."""

    run: Run
    settings: Settings
    detail: Detail

    def __post_init__(self) -> None:
        self._open = ExitStack()
        self._nulls: dict[tuple[object, ...], tuple[float, ...]] = {}

    def __enter__(self) -> ReportRun:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @cached_property
    def lists(self) -> list[ListRef]:
        """All ranked lists, the newest influence result first; those that cannot be read have a `problem`."""
        return list_refs(self.run.path, self.run.manifest)

    @cached_property
    def choice(self) -> Choice:
        """The question of the report and the ranking that answers it."""
        return choose(self.run, self.lists, self.settings)

    @cached_property
    def described(self) -> Descriptions:
        """What every neuron writes, and where it fires."""
        return read_descriptions(self.run.path)

    @cached_property
    def records(self) -> Part[Records]:
        """Neither a value nor a problem if the run has no finished records."""
        if not has_records(self.run.path):
            return Part(None)
        return attempt(lambda: self._open.enter_context(Records.open(self.run.path)))

    @cached_property
    def explanations(self) -> RunExplanations:
        """Its `problems` name the sets that cannot be read."""
        return RunExplanations.read(self.run.path)

    @cached_property
    def scores(self) -> Part[Scores]:
        """Neither a value nor a problem if the run has no scores."""
        found = attempt(lambda: Scores.open(self.run) if Scores.exist(self.run.path) else None)
        return Part(found.value, found.problem)

    def null_of(self, row: ScoreRow) -> tuple[float, ...]:
        """The draws that a score is compared with, ascending: of its layer, or of all layers."""
        layer = row.layer if row.null_from == "layer" else None
        key = (row.set, row.scorer, row.scorer_model, row.score, layer)
        if key not in self._nulls:
            scores = self.scores.value
            name = next((s.name for s in scores.sets if is_of(s, row)), None) if scores else None
            self._nulls[key] = tuple(scores.null_values(name, row.score, layer)) if scores and name else ()
        return self._nulls[key]

    def command(self, module: str, *flags: str) -> str:
        """A command of this project on this run."""
        import shlex

        return shlex.join(["python", "-m", f"neuron_signatures.{module}", "--run_dir", str(self.run.path), *flags])


def is_of(scored: ScoredSet, row: ScoreRow) -> bool:
    """Whether a row is one of a scored set."""
    return (scored.set, scored.scorer, scored.scorer_model, scored.split) == (
        row.set, row.scorer, row.scorer_model, row.split,
    )  # fmt: skip
