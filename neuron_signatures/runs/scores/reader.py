"""`Scores` reads the scores of a run, also while a process writes them. It never locks or writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.logs.following import AnotherFileError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.names import POLES, NeuronPole, Pole
from neuron_signatures.runs.results import meta_name, table_name
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.explained import Explained, explained_in
from neuron_signatures.runs.scores.index import ScoreIndex
from neuron_signatures.runs.scores.line import LineKey, ScoreLine
from neuron_signatures.runs.scores.lines import open_scores, read_line
from neuron_signatures.runs.scores.meta import About, ScoresMeta, read_meta, read_settings
from neuron_signatures.runs.scores.names import LOGS, SCORES, Control, Scorer, Split
from neuron_signatures.runs.scores.table import COLUMNS, RowMaker, ScoreRow, scores_table, typed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ScoreLine", "ScoreRow", "ScoredSet", "Scores"]


@dataclass(frozen=True)
class ScoredSet:
    """The scores of one scorer on one set of explanations."""

    name: str
    """The stem of its files."""
    set: str
    scorer: Scorer
    scorer_model: str | None
    split: Split
    """Values on `select` are for choosing explanations, and are no scores."""
    finished: bool
    statuses: Mapping[Status, int]
    """Own explanations by status."""
    n_poles: int
    score_names: tuple[str, ...]
    """The first is the headline of the scorer."""
    settings: Mapping[str, Any]


class _Log:
    """One scored set. What is read is kept; the log of a finished one is read when a line of it is asked for."""

    def __init__(self, run_dir: Path, name: str) -> None:
        self.run_dir, self.name = run_dir, name
        self.meta = _meta(run_dir, name)
        self.about: About = self.meta or _about(run_dir, name)

    @cached_property
    def index(self) -> ScoreIndex:
        index = ScoreIndex(self.run_dir, self.name)
        try:
            index.read_more()
        except AnotherFileError as e:
            what = "was removed while it was read"
            raise BadRunError(what, where=str(index.path), next_step="Open the run again") from e
        return index

    @cached_property
    def rows(self) -> RowMaker:
        return RowMaker(self.index, self.about, explained_in(self.run_dir, self.about.set))

    @cached_property
    def table(self) -> pd.DataFrame:
        if self.meta is None:
            return scores_table(self.rows, self.index)
        from neuron_signatures.runs.tables import read_table_file

        path = inside(self.run_dir, f"{SCORES}/{table_name(self.name)}")
        frame = read_table_file(path)
        if missing := [c for c in COLUMNS if c not in frame.columns]:
            raise BadRunError(f"has no column {', '.join(missing)}", where=str(path), next_step=LOGS.again)
        explained = explained_in(self.run_dir, self.about.set)  # an edit or a lock may be newer than the table
        current = [explained.get(i, Explained()).current for i in frame["explanation_id"]]
        return typed(frame.assign(current=current))

    @cached_property
    def info(self) -> ScoredSet:
        about = self.about
        common = (about.name, about.set, about.scorer, about.scorer_model, about.split)
        if self.meta is not None:
            m = self.meta
            return ScoredSet(*common, True, m.counts, m.n_poles, tuple(m.score_names), about.settings)
        own = [self.index.kept(key) for key in self.index.keys if key.control == "own"]
        names = tuple(dict.fromkeys(score for line in own for score in line.scores))
        counts = Counter(line.status for line in own)
        return ScoredSet(*common, False, counts, len(self.index.poles), names, about.settings)

    def refresh(self) -> bool:
        """Read what was appended. Returns whether something changed. Raises `AnotherFileError`."""
        meta = _meta(self.run_dir, self.name)
        changed = meta != self.meta
        if "index" in self.__dict__ and self.index.read_more():
            changed = True
        elif "index" not in self.__dict__ and not LOGS.path(self.run_dir, self.name).exists():
            raise AnotherFileError(self.name)
        if changed:
            self.meta = meta
            for made in ("rows", "table", "info"):
                self.__dict__.pop(made, None)
        return changed


class Scores:
    """The scores of a run. Damaged logs raise `BadRunError` with the file and the line. Not thread-safe."""

    def __init__(self, run_dir: Path, only: Collection[str] | None = None) -> None:
        self.path = run_dir
        self._only = only
        self._logs = {name: _Log(run_dir, name) for name in self._found()}

    @classmethod
    def open(cls, run: Run | Path | str, *, only: Collection[str] | None = None) -> Scores:
        """The scores of a run, or of the run in a folder: all, or `only` these names. May be none.

        Raises `BadRunError`.
        """
        return cls(run.path if isinstance(run, Run) else Path(run), only)

    @staticmethod
    def exist(run_dir: Path) -> bool:
        """Whether the run has scores, finished or not."""
        return bool(LOGS.names(run_dir))

    def refresh(self) -> bool:
        """Read what was appended, and new logs. Returns whether anything changed."""
        names = self._found()
        changed = names != list(self._logs)
        logs: dict[str, _Log] = {}
        for name in names:
            log = self._logs.get(name)
            try:
                if log is None:
                    raise AnotherFileError(name)
                changed |= log.refresh()
                logs[name] = log
            except AnotherFileError:
                logs[name], changed = _Log(self.path, name), True
        self._logs = logs
        return changed

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._logs)

    @property
    def sets(self) -> tuple[ScoredSet, ...]:
        """By name."""
        return tuple(log.info for log in self._logs.values())

    def table(self, name: str | None = None) -> pd.DataFrame:
        """The rows of one scored set, or of all, with the columns of `ScoreRow`; undefined is NA or NaN.

        Of finished ones the Parquet table, of others what the log holds. Raises `UsageError` for an unknown name.
        """
        if name is not None:
            return self._log(name).table
        import pandas as pd

        tables = [log.table for log in self._logs.values()]
        return pd.concat(tables, ignore_index=True) if tables else typed({c: [] for c in COLUMNS})

    def of(self, layer: int, neuron: int, pole: Pole | None = None) -> list[ScoreRow]:
        """The rows of a neuron, or of one pole: + first, by scored set."""
        poles = [NeuronPole(layer, neuron, p) for p in (POLES if pole is None else (pole,))]
        return [row for at in poles for log in self._logs.values() for row in log.rows.rows(at)]

    def own_line(self, name: str, explanation_id: str) -> ScoreLine | None:
        """How an explanation was scored: with its windows, mistakes and examples. None if it was not."""
        key = self._log(name).index.own_key(explanation_id)
        return None if key is None else self.line(name, key)

    def line(self, name: str, key: LineKey) -> ScoreLine | None:
        """The newest line of a key; None if there is none."""
        index = self._log(name).index
        if key not in index:
            return None
        with open_scores(index.path) as file:
            return read_line(file, index.path, index.kept(key))

    def controls(self, name: str, at: NeuronPole, control: Control) -> list[ScoreLine]:
        """The lines of one control of a pole, such as its draws of the null (`other`)."""
        index = self._log(name).index
        with open_scores(index.path) as file:
            return [read_line(file, index.path, index.kept(key)) for key in index.of_control(at, control)]

    def null_values(self, name: str, score: str, layer: int | None = None) -> list[float]:
        """The defined draws of the null of a score, ascending: of one layer, or of all."""
        return sorted(value for value in self._log(name).index.draws(score, layer) if value is not None)

    def _found(self) -> list[str]:
        names = LOGS.names(self.path)
        return names if self._only is None else [name for name in names if name in self._only]

    def _log(self, name: str) -> _Log:
        if name not in self._logs:
            held = f"there are {', '.join(list(self._logs)[:10])}" if self._logs else "it has none"
            raise UsageError(f"no scores {name!r} ({held})", where=str(self.path / SCORES))
        return self._logs[name]


def _meta(run_dir: Path, name: str) -> ScoresMeta | None:
    return read_meta(run_dir, name) if (run_dir / SCORES / meta_name(name)).is_file() else None


def _about(run_dir: Path, name: str) -> About:
    settings = read_settings(run_dir, name)
    if settings is None:
        where = str(LOGS.path(run_dir, name))
        raise BadRunError("its settings are missing: what was scored is not known", where=where, next_step=LOGS.again)
    return settings
