"""The scores of a run by neuron and by explanation."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_signatures.api.runs import ScoreFacts
from neuron_signatures.runs.records.names import POLES, NeuronPole
from neuron_signatures.runs.scores.names import LOGS
from neuron_signatures.runs.scores.reader import ScoredSet, Scores
from neuron_signatures.runs.scores.table import ScoreRow
from neuron_signatures.views.scores.plain_tables import read_plain_table, rows_at, rows_of

if TYPE_CHECKING:
    import pyarrow as pa


class ScoreRows:
    """Tables of finished scored sets are read once and kept; of others the log is read. Raises `BadRunError`.

    Values on the part `select`, by which explanations are chosen, are no scores: they are left out.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._opened = {name: Scores.open(run_dir, only=[name]) for name in LOGS.names(run_dir)}
        self._tables: dict[str, pa.Table] = {}

    def of_neuron(self, layer: int, neuron: int) -> dict[str, list[ScoreRow]]:
        """Rows by id of the explanation: every score of each scorer, the first one first."""
        found: dict[str, list[ScoreRow]] = {}
        for info in self._sets():
            for row in self._rows(info, layer, neuron):
                found.setdefault(row.explanation_id, []).append(row)
        return found

    def first_scores(self, ids: Collection[str], neurons: Collection[tuple[int, int]]) -> dict[str, list[ScoreRow]]:
        """The first score of each scorer, of these explanations of these neurons, by id."""
        found: dict[str, list[ScoreRow]] = {}
        for info in self._sets():
            wanted = {"", *info.score_names[:1]}
            if info.finished:
                rows = rows_of(self._table(info.name), ids, wanted)
            else:
                every = [row for at in neurons for row in self._opened[info.name].of(*at)]
                rows = [row for row in every if row.explanation_id in ids and row.score in wanted]
            for row in rows:
                found.setdefault(row.explanation_id, []).append(row)
        return found

    def _sets(self) -> Iterator[ScoredSet]:
        for scores in self._opened.values():
            info = scores.sets[0]
            if info.split == "report":
                yield info

    def _rows(self, info: ScoredSet, layer: int, neuron: int) -> list[ScoreRow]:
        if not info.finished:
            return self._opened[info.name].of(layer, neuron)
        table = self._table(info.name)
        return [row for pole in POLES for row in rows_at(table, NeuronPole(layer, neuron, pole))]

    def _table(self, name: str) -> pa.Table:
        if name not in self._tables:
            self._tables[name] = read_plain_table(self._run_dir, name)
        return self._tables[name]


def score_facts(row: ScoreRow) -> ScoreFacts:
    return ScoreFacts(
        scorer=row.scorer, scorer_model=row.scorer_model, score=row.score, value=row.value, ci_low=row.ci_low,
        ci_high=row.ci_high, null_best=row.null_best, null_sd=row.null_sd, null_n=row.null_n, null_p=row.null_p,
        lift=row.lift, ceiling=row.ceiling, lookup=row.lookup, n=row.n, coverage=row.coverage,
        undefined=row.undefined if row.status == "ok" else row.status,
    )  # fmt: skip
