"""One score of scored sets over many neurons: summaries, pairs of two sets, and the lowest values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.scores.reader import ScoredSet
from neuron_signatures.runs.scores.summary import Comparison, Summary, compare, summarise
from neuron_signatures.runs.scores.table import ScoreRow
from neuron_signatures.views.scores.reading import row_of
from neuron_signatures.views.scores.texts import interval_text, short_number, undefined_in_words

if TYPE_CHECKING:
    import pandas as pd


class PolePair(NamedTuple):
    """One pole with its score in two sets."""

    at: NeuronPole
    a: float
    b: float


class PolePoint(NamedTuple):
    """One explanation's score."""

    at: NeuronPole
    value: float
    explanation_id: str


def summary_of(table: pd.DataFrame, score: str) -> Summary | None:
    """The summary of one score of one scored set; None without rows. Raises `UsageError` for values on `select`."""
    found = summarise(of_score(table, score))
    return next((s for s in found if s.score == score), found[0] if found else None)


def by_layer(table: pd.DataFrame, score: str) -> list[Summary]:
    """A summary per layer in which the score is defined somewhere, ascending. Raises as `summary_of`."""
    found = [s for s in summarise(of_score(table, score), by=["layer"]) if s.score == score and s.n]
    return sorted(found, key=lambda s: int(s.group["layer"]))


def of_score(table: pd.DataFrame, score: str) -> pd.DataFrame:
    """The rows of one score, and those of explanations that could not be scored."""
    return table[(table["score"] == score) | (table["score"] == "")]


def points(table: pd.DataFrame, score: str) -> list[PolePoint]:
    """The defined values of current explanations, by neuron."""
    rows = table[(table["score"] == score) & table["current"] & table["value"].notna()]
    columns = (rows[c].tolist() for c in ("layer", "neuron", "pole", "value", "explanation_id"))
    found = [PolePoint(NeuronPole(int(a), int(b), p), v, i) for a, b, p, v, i in zip(*columns, strict=True)]
    return sorted(found, key=lambda p: p.at)


def compared(table_a: pd.DataFrame, table_b: pd.DataFrame, score: str) -> Comparison | None:
    """Two scored sets of the same scorer on the poles that both have; None if they have no scorer in common.

    Raises `UsageError` for values on `select`.
    """
    import pandas as pd

    a, b = (t[t["score"] == score] for t in (table_a, table_b))
    if not len(a) or not len(b):
        return None
    names = [str(side["set"].iloc[0]) for side in (a, b)]
    return next(iter(compare(pd.concat([a, b], ignore_index=True), *names)), None)


def pairs(table_a: pd.DataFrame, table_b: pd.DataFrame, score: str) -> list[PolePair]:
    """The poles where both are defined; of several explanations of a pole the mean."""
    a, b = (_means(points(t, score)) for t in (table_a, table_b))
    return [PolePair(at, a[at], b[at]) for at in a if at in b]


def extreme_rows(table: pd.DataFrame, score: str, n: int, *, largest: bool = False) -> list[ScoreRow]:
    """The `n` current explanations with the lowest values, or the largest; ties by neuron."""
    rows = table[(table["score"] == score) & table["current"] & table["value"].notna()]
    order = rows.sort_values(["value", "layer", "neuron", "pole"], ascending=[not largest, True, True, True])
    return [row_of(r) for r in order.head(n).to_dict("records")]


def comparison_sentence(c: Comparison) -> str:
    """Such as `A is better by .12 [.08, .16] over 320 poles of 200 neurons, and at 71 % of them`."""
    if c.difference is None:
        return f"No pole has this score in both {c.a} and {c.b}."
    interval = interval_text(c.low, c.high)
    sign = "not separated from 0" if c.low is None or c.high is None or c.low <= 0 <= c.high else "separated from 0"
    n = c.n_only_one
    alone = f"; left out: {n:,} {'pole' if n == 1 else 'poles'} with this score in one of them only" if n else ""
    wins = "" if c.wins is None else f"{c.a} is better at {c.wins:.0%} (ties count half)"
    return (
        f"{c.a} - {c.b}: {short_number(c.difference, sign=True)} {interval} ({sign}), over {c.n:,} poles of "
        f"{c.n_neurons:,} neurons; {wins}{alone}."
    )


def counts_in_words(counts: Sequence[tuple[str, int]], *, undefined: bool = False) -> str:
    """Such as `3 too few examples, 1 timed out`; empty without any."""
    return ", ".join(f"{n:,} {undefined_in_words(k) if undefined else k.replace('_', ' ')}" for k, n in counts)


def same_scorer(infos: Sequence[ScoredSet], info: ScoredSet, score: str) -> list[ScoredSet]:
    """Other sets that the same scorer scored with the same model, and that have this score."""
    return [
        i for i in infos
        if i.set != info.set and i.split == info.split == "report" and score in i.score_names
        and (i.scorer, i.scorer_model) == (info.scorer, info.scorer_model)
    ]  # fmt: skip


def _means(found: Sequence[PolePoint]) -> dict[NeuronPole, float]:
    values: dict[NeuronPole, list[float]] = {}
    for p in found:
        values.setdefault(p.at, []).append(p.value)
    return {at: sum(v) / len(v) for at, v in values.items()}
