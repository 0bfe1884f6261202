"""The scores of a run in memory, shared by all sessions, keyed by the stamps of their files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import streamlit as st

from neuron_signatures.dashboard.data.cached_records import use_records
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.scores.line import ScoreLine
from neuron_signatures.runs.scores.reader import ScoredSet
from neuron_signatures.runs.scores.summary import Comparison, Summary
from neuron_signatures.views.records.commands import has_records
from neuron_signatures.views.scores import over_neurons
from neuron_signatures.views.scores.mistakes import ShownMistake, shown_mistakes
from neuron_signatures.views.scores.reading import RunScores
from neuron_signatures.views.scores.shown import ShownScore
from neuron_signatures.views.scores.windows import AlignedWindow, aligned_windows

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
_MOST = 200
"""Results that are kept of the files as they are."""


class SharedScores:
    """The scores of one run. Every method takes the key of the files as they are now."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._lock = threading.RLock()
        self._key: str | None = None
        self._run: RunScores | None = None
        self._made: OrderedDict[Hashable, object] = OrderedDict()
        self._of_same: OrderedDict[Hashable, tuple[Sequence[pd.DataFrame], object]] = OrderedDict()

    def problems(self, key: str) -> list[str]:
        """One line for each log that cannot be read."""
        with self._lock:
            return list(self._now(key).problems)

    def sets(self, key: str) -> list[ScoredSet]:
        with self._lock:
            return self._now(key).sets

    def rows(self, key: str, at: NeuronPole) -> list[ShownScore]:
        return self._kept(key, ("rows", at), lambda run: run.score_rows(at))

    def own_line(self, key: str, name: str, explanation_id: str) -> ScoreLine | None:
        """Raises `BadRunError`."""
        with self._lock:
            return self._now(key).own_line(name, explanation_id)

    def table(self, key: str, name: str) -> pd.DataFrame:
        """Read only. Raises `BadRunError`."""
        with self._lock:
            return self._now(key).table(name)

    def summary(self, key: str, name: str, score: str) -> Summary | None:
        """Raises `BadRunError`, and `UsageError` for values on `select`."""
        return self._of_tables(key, [name], ("summary", score), lambda t: over_neurons.summary_of(t[0], score))

    def by_layer(self, key: str, name: str, score: str) -> list[Summary]:
        """Raises as `summary`."""
        return self._of_tables(key, [name], ("layers", score), lambda t: over_neurons.by_layer(t[0], score))

    def compared(self, key: str, a: str, b: str, score: str) -> Comparison | None:
        """Raises as `summary`."""
        return self._of_tables(key, [a, b], ("compared", score), lambda t: over_neurons.compared(t[0], t[1], score))

    def null_values(self, key: str, name: str, score: str) -> list[float]:
        """The draws of the null over all layers, ascending. Reads the whole log once. Raises `BadRunError`."""
        return self._kept(key, ("null", name, score), lambda run: run.null_values(name, score))

    def _kept(self, key: str, what: Hashable, make: Callable[[RunScores], T]) -> T:
        with self._lock:
            run = self._now(key)
            if what not in self._made:
                self._made[what] = make(run)
                while len(self._made) > _MOST:
                    self._made.popitem(last=False)
            found: T = self._made[what]  # type: ignore[assignment]
            return found

    def _of_tables(
        self, key: str, names: Sequence[str], what: Hashable, make: Callable[[Sequence[pd.DataFrame]], T]
    ) -> T:
        """What `make` returns of these tables; kept until one of them is another, whatever else changes."""
        with self._lock:
            tables = [self._now(key).table(name) for name in names]
            at = (*names, what)
            before = self._of_same.pop(at, None)
            if before is None or any(a is not b for a, b in zip(before[0], tables, strict=True)):
                before = (tables, make(tables))
            self._of_same[at] = before
            while len(self._of_same) > _MOST:
                self._of_same.popitem(last=False)
            found: T = before[1]  # type: ignore[assignment]
            return found

    def _now(self, key: str) -> RunScores:
        if self._run is None:
            self._run = RunScores(self._run_dir)
        elif key != self._key:
            self._run.refresh()
        if key != self._key:
            self._made.clear()
        self._key = key
        return self._run


@st.cache_resource(show_spinner=False, max_entries=2)
def shared(run_dir: Path) -> SharedScores:
    return SharedScores(run_dir)


class OwnLine(NamedTuple):
    """How an explanation was scored, with the text of the records. Read only."""

    line: ScoreLine
    windows: list[AlignedWindow]
    mistakes: list[ShownMistake]


def own_line(ctx: PageContext, name: str, explanation_id: str) -> OwnLine | None:
    """None if it was not scored. Raises `BadRunError`."""
    found: OwnLine | None = _own_line(ctx.run_dir, ctx.scores_key, ctx.results_key, name, explanation_id)
    return found


@st.cache_resource(show_spinner=False, max_entries=128)
def _own_line(run_dir: Path, scores_key: str, results_key: str, name: str, explanation_id: str) -> OwnLine | None:
    line = shared(run_dir).own_line(scores_key, name, explanation_id)
    if line is None:
        return None

    def aligned(records: Records | None) -> OwnLine:
        return OwnLine(line, aligned_windows(records, line, line.at), shown_mistakes(records, line))

    return use_records(run_dir, results_key, aligned) if has_records(run_dir) else aligned(None)
