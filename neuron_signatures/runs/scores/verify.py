"""Checking the logs of scores: every line, what lines refer to, and what stage records say about them."""

from __future__ import annotations

from collections.abc import Iterator

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.logs.verify import LogsCheck
from neuron_signatures.runs.scores.index import ScoreIndex
from neuron_signatures.runs.scores.line import LineKey, ScoreLine
from neuron_signatures.runs.scores.lines import open_scores, read_line
from neuron_signatures.runs.scores.meta import ScoreSettings, ScoresMeta
from neuron_signatures.runs.scores.names import LOGS


class ScoresCheck(LogsCheck[ScoreIndex]):
    """The `faults` and `remarks` of all scores of a run."""

    kind, meta, settings = LOGS, ScoresMeta, ScoreSettings
    unfinished = ("unfinished scores", "them")

    def read(self, name: str) -> ScoreIndex:
        index = ScoreIndex(self.run_dir, name)
        index.read_more()
        return index

    def line_faults(self, index: ScoreIndex) -> Iterator[str]:
        with open_scores(index.path) as file:
            for key in index.keys:
                try:
                    line = read_line(file, index.path, index.kept(key))
                except BadRunError as e:
                    yield e.what
                    continue
                if fault := self._fault_of(line):
                    yield f"{_name(key)}: {fault}"

    def appended(self, index: ScoreIndex, finished_at: int) -> str:
        return "lines were appended after the scores were finished" if index.end > finished_at else ""

    def _fault_of(self, line: ScoreLine) -> str:
        if line.layer >= self.manifest.n_layers or line.neuron >= self.manifest.d_mlp:
            return f"the model has no neuron L{line.layer}N{line.neuron}"
        if line.status != "ok" and line.scores:
            return f"has scores although its status is {line.status}"
        if (line.control == "other") != bool(line.other):
            return "names another neuron" if line.other else "does not say of which neuron the explanation is"
        wrong = next((n for n, s in line.scores.items() if (s.value is None) != bool(s.undefined)), None)
        return "" if wrong is None else f"{wrong} has both a value and a reason for none, or neither"


def _name(key: LineKey) -> str:
    return f"{key.at.label} {key.control} {key.explanation}"
