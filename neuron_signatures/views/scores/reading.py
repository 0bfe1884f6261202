"""The scores of a run as they are on disk; a log that cannot be read is a problem, and the others are shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.errors import BadRunError, ProjectError, UsageError
from neuron_signatures.runs.logs.following import AnotherFileError
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.scores.line import ScoreLine
from neuron_signatures.runs.scores.names import LOGS
from neuron_signatures.runs.scores.reader import ScoredSet, Scores
from neuron_signatures.runs.scores.table import COLUMNS, ScoreRow
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.scores.plain_tables import read_plain_table, rows_at, values_in, values_in_log
from neuron_signatures.views.scores.shown import ShownScore, shown_scores

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_COUNTS = ("layer", "neuron", "n", "n_positive", "null_n")


class RunScores:
    """Each log has a reader of its own. Not thread-safe."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._opened: dict[str, Scores] = {}
        self._infos: dict[str, ScoredSet] = {}
        self._problems: dict[str, str] = {}
        self._plain: dict[str, pa.Table] = {}
        self.refresh()

    @property
    def problems(self) -> list[str]:
        """One line for each log that cannot be read."""
        return list(self._problems.values())

    @property
    def sets(self) -> list[ScoredSet]:
        """By name."""
        return [self._infos[name] for name in sorted(self._infos)]

    def refresh(self) -> None:
        """Read what was appended, and new logs."""
        self._problems, self._plain = {}, {}
        try:
            names = LOGS.names(self._run_dir)
        except ProjectError as e:
            names, self._problems = [], {"": e.line()}
        for name in [n for n in self._opened if n not in names]:
            self._forget(name)
        for name in names:
            try:
                self._open(name)
            except (ProjectError, OSError) as e:
                self._fail(name, e)

    def score_rows(self, at: NeuronPole) -> list[ShownScore]:
        """The scores of a pole by scored set. A log that turns out to be damaged becomes a problem."""
        found: list[ShownScore] = []
        for info in self.sets:
            try:
                found += shown_scores(info, self._rows(info, at))
            except (ProjectError, OSError) as e:
                self._fail(info.name, e)
        return found

    def own_line(self, name: str, explanation_id: str) -> ScoreLine | None:
        """How an explanation was scored: windows, mistakes, examples. None if it was not. Raises `BadRunError`."""
        return self._reader(name).own_line(name, explanation_id)

    def table(self, name: str) -> pd.DataFrame:
        """The rows of one scored set. Raises `BadRunError`, after which the log is a problem."""
        try:
            return self._reader(name).table(name)
        except (BadRunError, OSError) as e:
            self._fail(name, e)
            raise

    def values(self, info: ScoredSet, score: str) -> dict[str, float | None]:
        """One score by id of the explanation, without pandas; None where undefined, or if it could not be scored. Empty
        for a log that cannot be read, which becomes a problem.
        """
        try:
            if info.finished:
                return values_in(self._plain_table(info.name), score)
            return values_in_log(self._run_dir, info.name, score)
        except (ProjectError, OSError, AnotherFileError) as e:
            self._fail(info.name, e)
            return {}

    def null_values(self, name: str, score: str, layer: int | None = None) -> list[float]:
        """The defined draws of the null, ascending: of one layer, or of all. Reads the log. Raises `BadRunError`."""
        return self._reader(name).null_values(name, score, layer)

    def _open(self, name: str) -> None:
        opened = self._opened.get(name)
        if opened is None:
            opened = Scores.open(self._run_dir, only=[name])
        else:
            opened.refresh()
        self._infos[name], self._opened[name] = opened.sets[0], opened

    def _rows(self, info: ScoredSet, at: NeuronPole) -> list[ScoreRow]:
        if not info.finished:
            return self._opened[info.name].of(at.layer, at.neuron, at.pole)
        return rows_at(self._plain_table(info.name), at)

    def _plain_table(self, name: str) -> pa.Table:
        if name not in self._plain:
            self._plain[name] = read_plain_table(self._run_dir, name)
        return self._plain[name]

    def _reader(self, name: str) -> Scores:
        if name not in self._opened:
            raise UsageError(f"no scores {name[:80]!r} can be read", where=str(self._run_dir))
        return self._opened[name]

    def _fail(self, name: str, e: Exception) -> None:
        self._forget(name)
        self._problems[name] = e.line() if isinstance(e, ProjectError) else f"{name}: {brief(str(e))}"

    def _forget(self, name: str) -> None:
        self._opened.pop(name, None)
        self._plain.pop(name, None)
        self._infos.pop(name, None)


def row_of(record: Mapping[str, Any]) -> ScoreRow:
    """A row of the table as the record that it was."""
    import pandas as pd

    plain = {c: None if pd.isna(record[c]) else record[c] for c in COLUMNS}
    plain |= {c: int(v) for c in _COUNTS if (v := plain[c]) is not None}
    try:
        return ScoreRow(**plain)  # type: ignore[arg-type]
    except TypeError as e:
        raise BadRunError(f"a row of a table of scores is invalid ({e})") from e


def has_scores(run_dir: Path) -> bool:
    """Whether there is a log of scores; it may be damaged."""
    try:
        return Scores.exist(run_dir)
    except ProjectError:
        return True
