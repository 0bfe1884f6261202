"""Checking the logs of explanations: every line, what lines refer to, and what stage records say about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.index import LogIndex
from neuron_signatures.runs.explanations.lines import Line, open_set, read_entry
from neuron_signatures.runs.explanations.meta import ExplanationsMeta, SetSettings
from neuron_signatures.runs.explanations.names import HUMAN_SET, SETS
from neuron_signatures.runs.logs.verify import LogsCheck
from neuron_signatures.runs.manifest import Manifest


class SetsCheck(LogsCheck[LogIndex]):
    """The `faults` and `remarks` of all sets of a run."""

    kind, meta, settings = SETS, ExplanationsMeta, SetSettings
    unfinished = ("an unfinished set", "it")
    never_finished = HUMAN_SET

    def __init__(self, run_dir: Path, manifest: Manifest) -> None:
        self._ids: dict[str, str] = {}
        super().__init__(run_dir, manifest)

    def read(self, name: str) -> LogIndex:
        index = LogIndex(self.run_dir, name)
        index.read_more()
        return index

    def line_faults(self, index: LogIndex) -> Iterator[str]:
        here: dict[str, Line] = {}
        with open_set(index.path) as file:
            for line in _in_order(index):
                try:
                    entry = read_entry(file, index.path, line)
                except BadRunError as e:
                    yield e.what
                    continue
                if fault := self._fault_of(entry, index.name, here):
                    yield f"{line.id}: {fault}"
                if line.kind == "explanation":
                    here[line.id] = line

    def appended(self, index: LogIndex, finished_at: int) -> str:
        later = (line.id for line in _in_order(index) if line.start >= finished_at and line.author == "model")
        return next((f"{id_} was appended by a model after the set was finished" for id_ in later), "")

    def _fault_of(self, entry: Entry, name: str, here: dict[str, Line]) -> str:
        if entry.id in self._ids:
            return f"the id is in use in set {self._ids[entry.id]} already"
        self._ids[entry.id] = name
        if entry.set != name:
            return f"is of set {entry.set}"
        if entry.layer >= self.manifest.n_layers or entry.neuron >= self.manifest.d_mlp:
            return f"the model has no neuron L{entry.layer}N{entry.neuron}"
        other = entry.parent if entry.kind == "explanation" else entry.about
        if other is None:
            return "" if entry.kind == "explanation" else f"a {entry.kind} about nothing"
        if other not in here:
            return f"{other}, which it refers to, is no explanation before it in this log"
        if here[other].at != (entry.layer, entry.neuron, entry.pole):
            return f"{other}, which it refers to, is about another neuron or pole"
        return ""


def _in_order(index: LogIndex) -> list[Line]:
    return sorted((line for lines in index.poles.values() for line in lines), key=lambda line: line.start)
