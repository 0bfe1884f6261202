"""The scores of a run, read in threads when they are asked for, and again when their files change."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.records.names import POLES, NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.scores.names import SCORERS, SIMULATORS
from neuron_signatures.runs.scores.reader import ScoredSet
from neuron_signatures.tui.faults import fault_text
from neuron_signatures.views.changes import Stamp, changed, score_stamps
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.records.commands import has_records
from neuron_signatures.views.scores.reading import RunScores
from neuron_signatures.views.scores.shown import ScoredExplanation, ShownScore, by_explanation
from neuron_signatures.views.scores.windows import AlignedWindow, aligned_windows

T = TypeVar("T")
_CACHE_SIZE = 64
"""Neurons whose scores are kept."""


class NeuronScores(NamedTuple):
    """The scores of both poles of a neuron."""

    at: NeuronAt
    found: tuple[ScoredExplanation, ...] = ()
    problems: tuple[str, ...] = ()
    """One line for each log that cannot be read."""

    def of(self, explanation_id: str) -> list[ScoredExplanation]:
        """One for each scored set that has the explanation."""
        return [s for s in self.found if s.explanation_id == explanation_id]

    def simulated(self, explanation_id: str) -> list[ScoredExplanation]:
        """Those whose scorer predicts activations, values for choosing last."""
        own = [s for s in self.of(explanation_id) if s.first.row.scorer in SIMULATORS]
        return sorted(own, key=lambda s: not s.first.is_score)


class Headlines(NamedTuple):
    """One score of many explanations, all by the same scorer, so that they can be compared."""

    score: str = ""
    """Its name; empty if nothing was scored."""
    scorer: str = ""
    """With the language model that it asked, raw."""
    n_others: int = 0
    """Other scorers."""
    values: Mapping[str, float | None] = {}
    """By id of the explanation; None where undefined or failed."""
    problems: tuple[str, ...] = ()
    """One line for each log that cannot be read."""


class OpenedScores:
    """Methods that read take time and are called in threads; one reads at a time. A log that cannot be read is a
    problem of the neuron, and the others are shown.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.stamps: dict[str, Stamp] = score_stamps(run_dir)
        """Of the files when they were last read."""
        self._run: RunScores | None = None
        self._of: dict[NeuronAt, NeuronScores] = {}
        self._headlines: Headlines | None = None
        self._lock = threading.Lock()

    @property
    def exist(self) -> bool:
        """Whether there is a folder with scores, of any neuron."""
        return bool(self.stamps)

    def known(self, at: NeuronAt) -> NeuronScores | None:
        """What `of` has read; None if it takes time."""
        return self._of.get(at) if self.exist else NeuronScores(at)

    def of(self, at: NeuronAt) -> NeuronScores:
        """The scores of both poles."""

        def read(run: RunScores) -> NeuronScores:
            rows: list[ShownScore] = [s for pole in POLES for s in run.score_rows(NeuronPole(*at, pole))]
            return NeuronScores(at, tuple(by_explanation(rows)), tuple(run.problems))

        if (known := self.known(at)) is not None:
            return known
        found, is_current = self._read(read)
        if is_current:
            if len(self._of) >= _CACHE_SIZE:
                self._of.pop(next(iter(self._of)), None)
            self._of[at] = found
        return found

    def headlines(self) -> Headlines:
        """The headline scores of the scorer with the most scored explanations."""
        if not self.exist:
            return Headlines()
        if self._headlines is None:
            found, is_current = self._read(_headlines)
            if not is_current:
                return found
            self._headlines = found
        return self._headlines

    def windows(self, name: str, explanation_id: str) -> list[AlignedWindow]:
        """The windows that a scored set stores of an explanation; empty if none.

        Raises `BadRunError` if its line, or the records, cannot be read.
        """
        line, _ = self._read(lambda run: run.own_line(name, explanation_id))
        if line is None:
            return []
        if not has_records(self.run_dir):
            return aligned_windows(None, line, line.at)
        with Records.open(self.run_dir) as records:
            return aligned_windows(records, line, line.at)

    def drop_changed(self, *, explanations: bool = False) -> bool:
        """Forget what was read if a file has changed, or the `explanations`, which say what is current; returns whether
        it forgot. Does not wait for threads.
        """
        now = score_stamps(self.run_dir)
        is_changed = explanations or bool(changed(self.stamps, now))
        if is_changed:
            self.stamps, self._run, self._of, self._headlines = now, None, {}, None
        return is_changed

    def _read(self, what: Callable[[RunScores], T]) -> tuple[T, bool]:
        """What a reader of the logs gives, and whether the files are still those that were read."""
        with self._lock:
            before, run = self.stamps, self._run
            run = run or RunScores(self.run_dir)
            found = what(run)
            is_current = self.stamps is before
            if is_current:
                self._run = run
            return found, is_current


def _headlines(run: RunScores) -> Headlines:
    sets = [s for s in run.sets if s.split == "report" and s.score_names]
    scored = Counter[tuple[str, str | None]]()
    for s in sets:
        scored[_by(s)] += s.statuses.get("ok", 0)
    if not scored:
        return Headlines(problems=tuple(run.problems))
    order = {name: i for i, name in enumerate(SCORERS)}
    best = min(scored, key=lambda by: (-scored[by], order.get(by[0], len(order)), by[1] or ""))  # type: ignore[call-overload]
    of_best = [s for s in sets if _by(s) == best]
    score = of_best[0].score_names[0]
    values: dict[str, float | None] = {}
    for s in of_best:
        values |= run.values(s, score)
    short = f"{best[0]}, {best[1].rpartition('/')[2]}" if best[1] else best[0]
    return Headlines(score, short, len(scored) - 1, values, tuple(run.problems))


def _by(s: ScoredSet) -> tuple[str, str | None]:
    return s.scorer, s.scorer_model


class Simulated(NamedTuple):
    """What the screen of simulated activations shows: one explanation, as one scored set predicted it."""

    at: NeuronAt
    explanation_id: str = ""
    label: str = ""
    """Of the pole, such as `L3N508+`; of the neuron without an explanation."""
    text: str = ""
    """The explanation on one line, escaped."""
    options: tuple[ScoredExplanation, ...] = ()
    """The scored sets that predicted from it."""
    chosen: int = 0
    """Which of them is shown."""
    windows: tuple[AlignedWindow, ...] = ()
    why: str = ""
    """Why there is no window, raw."""
    problems: tuple[str, ...] = ()

    @property
    def shown(self) -> ScoredExplanation | None:
        return self.options[self.chosen] if self.options else None


def simulated(
    scores: OpenedScores, found: NeuronScores, explanation: tuple[str, str, str], name: str, nothing: str
) -> Simulated:
    """The windows of an explanation, given by id, label of its pole and text; `name`: the scored set, else the first.

    `nothing`: what to say if nothing predicted from it. A log or records that cannot be read are a reason.
    """
    id_, label, text = explanation
    options = tuple(found.simulated(id_))
    index = next((i for i, s in enumerate(options) if s.name == name), 0)
    blank = Simulated(found.at, id_, label, text, options, index, problems=found.problems)
    if not options:
        return blank._replace(why=nothing)
    try:
        windows = tuple(scores.windows(options[index].name, id_))
    except (ProjectError, OSError) as e:
        return blank._replace(why=fault_text(e))
    return blank._replace(windows=windows, why="" if windows else "no window is stored")
