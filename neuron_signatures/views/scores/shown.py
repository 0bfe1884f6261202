"""One score of one explanation as viewers show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.scores.names import Control
from neuron_signatures.runs.scores.reader import ScoredSet
from neuron_signatures.runs.scores.table import BESIDE, ScoreRow


@dataclass(frozen=True)
class ShownScore:
    """A score with the log that it is from. A row with an empty `score` is an explanation that was not scored."""

    name: str
    """The stem of the files of the scored set."""
    row: ScoreRow
    is_headline: bool
    """Whether it is the first score of its scorer."""
    is_finished: bool

    @property
    def at(self) -> NeuronPole:
        return self.row.at

    @property
    def is_score(self) -> bool:
        """False for values on the part `select`, by which explanations are chosen."""
        return self.row.split == "report"

    @property
    def failed(self) -> bool:
        """Whether the explanation could not be scored at all."""
        return self.row.status != "ok"

    @property
    def scorer(self) -> str:
        """The scorer with the language model that it asked, raw; such as `detection, some-model`."""
        model = self.row.scorer_model
        return self.row.scorer if not model else f"{self.row.scorer}, {model.rpartition('/')[2]}"

    @property
    def controls(self) -> list[tuple[Control, float | None]]:
        """The controls of this score that have a value, baselines last."""
        found: list[tuple[Control, float | None]] = [(c, getattr(self.row, c)) for c in CONTROLS]
        return [(name, value) for name, value in found if value is not None]


class ScoredExplanation(NamedTuple):
    """The scores of one explanation by one scorer, the headline first."""

    name: str
    explanation_id: str
    scores: tuple[ShownScore, ...]

    @property
    def first(self) -> ShownScore:
        return self.scores[0]


CONTROLS: tuple[Control, ...] = ("shuffled", "empty", "text", "constant", "lookup", "ceiling")
assert set(CONTROLS) == set(BESIDE)


def shown_scores(info: ScoredSet, rows: Sequence[ScoreRow]) -> list[ShownScore]:
    """Rows of one scored set: those of current explanations first, otherwise in the order of the rows."""
    headline = info.score_names[0] if info.score_names else ""
    found = [ShownScore(info.name, row, row.score in ("", headline), info.finished) for row in rows]
    return sorted(found, key=lambda s: not s.row.current)


def by_explanation(scores: Sequence[ShownScore]) -> list[ScoredExplanation]:
    """Scores of one explanation and scored set together, in the order of the first of each."""
    order: dict[tuple[str, str], int] = {}
    for s in scores:
        order.setdefault((s.name, s.row.explanation_id), len(order))
    ordered = sorted(scores, key=lambda s: (order[s.name, s.row.explanation_id], not s.is_headline))
    groups = groupby(ordered, key=lambda s: (s.name, s.row.explanation_id))
    return [ScoredExplanation(name, id_, tuple(found)) for (name, id_), found in groups]
