"""Summaries of scores over neurons, and the paired comparison of two sets of explanations.

Both read tables of `Scores`. Only current explanations count. Every pole of a neuron has the same weight: if it has
several explanations (`--modes`), the mean of theirs. Intervals are a bootstrap of whole neurons, both poles together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.stats.cluster_means import cluster_mean

if TYPE_CHECKING:
    import pandas as pd

By = Literal["layer", "pole", "explainer"]
N_DRAWS = 1000
SIGNIFICANT = 0.05
MIN_DRAWS = 19
"""With fewer draws of the null no `null_p` can be as small as .05."""
SAME = 1e-9
"""Values that differ by less are equal: sums in another order differ in the last digits."""
_POLE = ["layer", "neuron", "pole"]
_SCORER = ["scorer", "scorer_model"]


class _Scorer(NamedTuple):
    set: str
    scorer: str
    model: str
    """Empty without one."""


class ScoreKey(NamedTuple):
    """A score of a set by a scorer. `model` is empty if none was asked."""

    set: str
    scorer: str
    model: str
    score: str


class PoleValues(NamedTuple):
    """Values of poles, and the layer and neuron of each."""

    values: list[float]
    neurons: list[tuple[int, int]]


@dataclass(frozen=True)
class Summary:
    """One score of one set over neurons. Numbers are None where nothing is defined."""

    set: str
    scorer: str
    scorer_model: str | None
    score: str
    group: Mapping[str, Any]
    """Values of the columns that it is limited to, such as `{"layer": 3}`; empty for all."""
    n: int
    """Poles with a value."""
    n_neurons: int
    mean: float | None
    low: float | None
    high: float | None
    """95 % interval of the mean; None with fewer than two neurons."""
    median: float | None
    null_best: float | None
    """Mean of the nulls of these poles."""
    lift: float | None
    share_above_null: float | None
    """Share of the poles with a null whose value is above it."""
    share_significant: float | None
    """Share of the poles with a null of at least 19 draws whose `null_p` is at most .05: .05 is what chance would give.
    None if none has so many draws."""
    n_with_null: int
    ceiling: float | None
    """Mean of the best possible score, of the poles where it is defined."""
    lookup: float | None
    """Mean of the baseline: the look-up rules of these poles."""
    coverage: float | None
    """Mean share of the requests with a valid answer; None if none were sent."""
    undefined: Mapping[str, int]
    """Poles without a value, by reason. They are in no mean."""
    failed: Mapping[str, int]
    """Poles that could not be scored, by status. They are in no mean."""


@dataclass(frozen=True)
class Comparison:
    """One score of two sets on the poles where both are defined; differences are a - b."""

    a: str
    b: str
    scorer: str
    scorer_model: str | None
    score: str
    n: int
    n_neurons: int
    n_only_one: int
    """Poles where only one of the two is defined; left out."""
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    """95 % interval of the mean difference; None with fewer than two neurons."""
    wins: float | None
    """Share of the poles where a is better; ties count half."""


def summarise(
    table: pd.DataFrame, *, by: Sequence[By] = (), n_draws: int = N_DRAWS, seed: int = 0
) -> list[Summary]:  # fmt: skip
    """One summary per set, scorer and score, and per value of the columns `by`.

    Raises `UsageError` for values on `select`.
    """
    refuse_select(table)
    found: list[Summary] = []
    for key, of_scorer in _without_na(table[table["current"]]).groupby(["set", *_SCORER], sort=False):
        scorer = _Scorer(*key)
        for group, rows in _groups(of_scorer, by):
            failed = _counts(rows[rows["status"] != "ok"], "status")
            scored = rows[rows["score"] != ""]
            if not len(scored):
                found.append(_summary(scorer, "", group, scored, failed, n_draws, seed))
            for score, of_score in scored.groupby("score", sort=False):
                found.append(_summary(scorer, str(score), group, of_score, failed, n_draws, seed))
    return found


def compare(table: pd.DataFrame, a: str, b: str, *, n_draws: int = N_DRAWS, seed: int = 0) -> list[Comparison]:
    """One comparison per scorer and score that both sets have.

    Raises `UsageError` for values on `select`, and if one of the sets has no scores or they have none in common.
    """
    sides = [table[(table["set"] == name) & table["current"] & (table["score"] != "")] for name in (a, b)]
    for name, side in zip((a, b), sides, strict=True):
        if not len(side):
            held = ", ".join(sorted(set(table["set"]))[:10]) or "none"
            raise UsageError(f"there are no scores of the set {name!r}; of these there are: {held}")
        refuse_select(side)
    of_a, of_b = (dict(list(_without_na(side).groupby([*_SCORER, "score"], sort=False))) for side in sides)
    found = [
        _comparison(_Scorer(a, *key[:2]), b, key[2], rows, of_b[key], n_draws, seed)
        for key, rows in of_a.items()
        if key in of_b
    ]
    if not found:
        raise UsageError(f"no scorer has scored both {a} and {b}", next_step="Score both with the same --scorers")
    return found


def pole_values(table: pd.DataFrame) -> dict[ScoreKey, PoleValues]:
    """The defined values of each score, with the neuron of each pole."""
    found: dict[ScoreKey, PoleValues] = {}
    scored = _without_na(table[table["current"] & (table["score"] != "")])
    for key, rows in scored.groupby(["set", *_SCORER, "score"], sort=False):
        poles = _by_pole(rows)
        defined = poles[poles["value"].notna()]
        found[ScoreKey(*key)] = PoleValues(defined["value"].to_list(), _neurons(defined))
    return found


def refuse_select(table: pd.DataFrame) -> None:
    """Raise `UsageError` if some values are of the part `select`."""
    chosen_on = table[table["split"] != "report"]
    if len(chosen_on):
        name = f"{chosen_on['set'].iloc[0]}, {chosen_on['scorer'].iloc[0]}"
        what = f"{name}: these values are of the part select, on which explanations are chosen: they are no scores"
        raise UsageError(what, next_step="Score the set with --part report")


def _groups(rows: pd.DataFrame, by: Sequence[By]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    if not by:
        return [({}, rows)]
    grouped = rows.groupby(list(by), dropna=False)
    return [({c: _plain(v) for c, v in zip(by, key, strict=True)}, frame) for key, frame in grouped]


def _summary(
    of: _Scorer, score: str, group: dict[str, Any], rows: pd.DataFrame, failed: dict[str, int], n_draws: int, seed: int
) -> Summary:  # fmt: skip
    poles = _by_pole(rows)
    defined = poles[poles["value"].notna()]
    with_null = defined[defined["null_best"].notna()]
    undefined = rows[rows["value"].isna() & (rows["status"] == "ok")]
    neurons = _neurons(defined)
    mean = cluster_mean(defined["value"].to_list(), neurons, n_draws=n_draws, seed=seed)
    return Summary(
        of.set, of.scorer, of.model or None, score, group, len(defined), len(set(neurons)), *mean,
        median=_mean(defined["value"], np.median), null_best=_mean(with_null["null_best"]),
        lift=_mean(with_null["lift"]), share_above_null=_mean(with_null["above"]),
        share_significant=_mean(with_null["significant"]), n_with_null=len(with_null),
        ceiling=_mean(poles["ceiling"]), lookup=_mean(poles["lookup"]), coverage=_mean(poles["coverage"]),
        undefined=_counts(undefined, "undefined"), failed=failed,
    )  # fmt: skip


def _comparison(
    of_a: _Scorer, b: str, score: str, rows_a: pd.DataFrame, rows_b: pd.DataFrame, n_draws: int, seed: int
) -> Comparison:
    both = _by_pole(rows_a).merge(_by_pole(rows_b), on=_POLE, suffixes=("_a", "_b"))
    defined = both["value_a"].notna().astype(int) + both["value_b"].notna()
    n_only_one = int((defined == 1).sum())
    both = both[defined == 2]
    difference = (both["value_a"] - both["value_b"]).to_numpy(float)
    difference = np.where(np.abs(difference) < SAME, 0.0, difference)
    neurons = _neurons(both)
    mean = cluster_mean(difference.tolist(), neurons, n_draws=n_draws, seed=seed)
    wins = float(((difference > 0) + 0.5 * (difference == 0)).mean()) if len(difference) else None
    return Comparison(
        of_a.set, b, of_a.scorer, of_a.model or None, score, len(both), len(set(neurons)), n_only_one,
        _mean(both["value_a"]), _mean(both["value_b"]), *mean, wins,
    )  # fmt: skip


def _by_pole(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per pole: means over its explanations, of what is defined."""
    columns = ["value", "null_best", "lift", "ceiling", "lookup", "coverage"]
    frame = rows[[*_POLE, *columns]].astype({"layer": "int64", "neuron": "int64"})
    compared = rows["value"].notna() & rows["null_best"].notna()
    enough = compared & (rows["null_n"].fillna(0).astype("int64") >= MIN_DRAWS)
    frame["above"] = (rows["value"] > rows["null_best"]).astype(float).where(compared)
    frame["significant"] = (rows["null_p"] <= SIGNIFICANT).astype(float).where(enough)
    return frame.groupby(_POLE, as_index=False, sort=False).mean()


def _neurons(poles: pd.DataFrame) -> list[tuple[int, int]]:
    return list(zip(poles["layer"].to_list(), poles["neuron"].to_list(), strict=True))


def _mean(values: pd.Series[Any], of: Any = np.mean) -> float | None:
    """Of the defined ones; None without any."""
    defined = values.dropna().to_numpy(float)
    return float(of(defined)) if len(defined) else None


def _counts(rows: pd.DataFrame, column: str) -> dict[str, int]:
    """Poles by the value of a column."""
    poles = rows.drop_duplicates([*_POLE, column])
    return {str(k): int(n) for k, n in poles[column].value_counts(sort=True).items()}


def _without_na(rows: pd.DataFrame) -> pd.DataFrame:
    """With an empty name where no model was asked."""
    return rows.assign(scorer_model=rows["scorer_model"].fillna(""))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
