"""`scores/<name>.parquet`: one row per explanation and score, with the null and the controls beside the value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.records.names import NeuronPole, Pole
from neuron_signatures.runs.scores.explained import Explained
from neuron_signatures.runs.scores.index import Indexed, ScoreIndex
from neuron_signatures.runs.scores.line import LineKey
from neuron_signatures.runs.scores.lines import KeptScore
from neuron_signatures.runs.scores.meta import About
from neuron_signatures.runs.scores.names import Control, Scorer, Split
from neuron_signatures.stats.pooled_null import Null

if TYPE_CHECKING:
    import pandas as pd

NullFrom = Literal["layer", "all layers", ""]
BESIDE: tuple[Control, ...] = ("shuffled", "empty", "text", "constant", "ceiling", "lookup")
"""The controls that have a column of their own."""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One score of one explanation. None where a number is undefined or was not measured.

    An explanation that could not be scored has one row with an empty `score` and its status, which is that of the
    explanation or of the first failed request.
    """

    explanation_id: str
    set: str
    layer: int
    neuron: int
    pole: Pole
    explainer: str
    explainer_model: str | None
    scorer: Scorer
    scorer_model: str | None
    score: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    null_best: float | None
    """The mean of the pooled null: what explanations of other neurons score on neurons of this layer."""
    null_sd: float | None
    null_n: int
    """Draws, also undefined ones."""
    null_from: NullFrom
    """Whose draws: of the layer, or of all layers because the layer has fewer than 10 defined ones."""
    null_p: float | None
    """(1 + draws at least as good) / (1 + draws); undefined draws are worse."""
    lift: float | None
    """value - null_best."""
    n: int
    n_positive: int | None
    coverage: float | None
    """Share of the requests with a valid answer; None if the scorer sends none."""
    split: Split
    status: Status
    undefined: str
    """Why there is no value although the status is ok."""
    current: bool
    """Whether the explanation is a current one of its pole, or failed and the pole has none."""
    shuffled: float | None = None
    empty: float | None = None
    text: float | None = None
    constant: float | None = None
    ceiling: float | None = None
    lookup: float | None = None

    @property
    def at(self) -> NeuronPole:
        return NeuronPole(self.layer, self.neuron, self.pole)


COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(ScoreRow))
_TYPES = {
    **dict.fromkeys(("layer", "neuron", "n", "null_n", "n_positive"), "Int64"),
    **dict.fromkeys(
        ("value", "ci_low", "ci_high", "null_best", "null_sd", "null_p", "lift", "coverage", *BESIDE), "float64"
    ),
    "current": "bool",
}


class RowMaker:
    """Makes rows from an index; the nulls are pooled once."""

    def __init__(self, index: ScoreIndex, about: About, explained: Mapping[str, Explained]) -> None:
        self._index, self._about, self._explained = index, about, explained
        self._nulls: dict[tuple[str, int], tuple[Null, bool]] = {}

    def rows(self, at: NeuronPole) -> Iterator[ScoreRow]:
        """Of one pole, in the order in which its explanations were scored first."""
        for key in self._index.of_control(at, "own"):
            line = self._index.get(key)
            assert line is not None
            scores = self._index.scores(key)
            if line.status != "ok" or not scores:
                yield self._row(key, line, "", KeptScore(None, None, None, 0, None, ""), {})
                continue
            beside = {c: self._index.scores(LineKey(key.explanation, at, c)) for c in BESIDE}
            for name, score in scores.items():
                yield self._row(key, line, name, score, {c: _value(beside[c].get(name)) for c in BESIDE})

    def _row(
        self, key: LineKey, line: Indexed, name: str, score: KeptScore, beside: Mapping[Control, float | None]
    ) -> ScoreRow:
        about, explained = self._about, self._explained.get(key.explanation, Explained())
        null, of_layer = self._null(name, key.at.layer)
        mean, n_draws = null.mean, len(null.values) + null.n_undefined
        return ScoreRow(
            explanation_id=key.explanation, set=about.set, layer=key.at.layer, neuron=key.at.neuron, pole=key.at.pole,
            explainer=explained.explainer, explainer_model=explained.model, scorer=about.scorer,
            scorer_model=about.scorer_model, score=name, value=score.value, ci_low=score.ci_low,
            ci_high=score.ci_high, null_best=mean, null_sd=null.spread, null_n=n_draws,
            null_from="" if not n_draws else "layer" if of_layer else "all layers",
            null_p=None if score.value is None else null.share_at_least(score.value),
            lift=None if score.value is None or mean is None else score.value - mean, n=score.n,
            n_positive=score.n_positive, coverage=line.n_ok / line.n_requests if line.n_requests else None,
            split=about.split, status=line.status, undefined=score.undefined, current=explained.current,
            **{str(control): value for control, value in beside.items()},
        )  # fmt: skip

    def _null(self, score: str, layer: int) -> tuple[Null, bool]:
        if (score, layer) not in self._nulls:
            self._nulls[score, layer] = self._index.null(score, layer)
        return self._nulls[score, layer]


def scores_table(rows: RowMaker, index: ScoreIndex) -> pd.DataFrame:
    """All rows of a log, by layer, neuron and pole."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for at in sorted(index.poles):
        for row in rows.rows(at):
            for name, values in columns.items():
                values.append(getattr(row, name))
    return typed(columns)


def typed(columns: Mapping[str, Any]) -> pd.DataFrame:
    """The columns of the table with their types; undefined is NA or NaN."""
    import pandas as pd

    return pd.DataFrame({c: pd.Series(columns[c], dtype=_TYPES.get(c, "string")) for c in COLUMNS})


def _value(score: KeptScore | None) -> float | None:
    return None if score is None else score.value
