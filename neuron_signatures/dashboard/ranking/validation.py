"""How far rankings agree with real ablations, as stage 2 recorded it: one record in, plain values out."""

from __future__ import annotations

from typing import Any, NamedTuple

from neuron_signatures.runs.results import read_json
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.odd import odd_is_broken, whole
from neuron_signatures.views.origin import another_dump


class Point(NamedTuple):
    """Share of the function with the first `k` of a ranking kept (faithfulness) or ablated (completeness)."""

    k: int
    faithfulness: float | None
    completeness: float | None


class Control(NamedTuple):
    """The first `k` against random sets with as many of each layer; `low` to `high` hold 90 % of those."""

    k: int
    observed: float | None
    random_mean: float | None
    low: float | None
    high: float | None
    n_random: int
    p: float | None


class MetricValidation(NamedTuple):
    """One metric. Correlations are with the effects of ablating each neuron alone; undefined numbers are None."""

    metric: str
    pearson: float | None
    spearman: float | None
    cpr: float | None
    cmd: float | None
    smallest_k: int | None
    curve: list[Point]
    controls: list[Control]


class Validation(NamedTuple):
    title: str
    """Raw."""
    created_at_utc: str
    n_units: int
    kept_share: float
    winner_single: str | None
    winner_sets: str | None
    warnings: list[str]
    metrics: list[MetricValidation]


def read_validation(run: Run, stem: str) -> Validation:
    """Raises `UsageError` if it has gone, `BadRunError` if it is damaged."""
    record = read_json(run.path, f"{stem}.json")
    with odd_is_broken(f"{stem}.json"):
        found = _validation(record)
        doubt = another_dump(run.manifest, record)
        return found._replace(warnings=[doubt, *found.warnings]) if doubt else found


def _validation(record: dict[str, Any]) -> Validation:
    target = record["target"]
    title = f"{visible(target['token']['token'])} ({target['mode']}), {record['prompt_id']} at {target['pos']}"
    return Validation(
        title, str(record["created_at_utc"]), whole(record["n_units"]), float(record["kept_share"]),
        _text(record["winner_single"]), _text(record["winner_sets"]), [str(w) for w in record["warnings"] or ()],
        [_metric(m) for m in record["metrics"]],
    )  # fmt: skip


def _metric(m: dict[str, Any]) -> MetricValidation:
    pearson, spearman, cpr, cmd = (_number(m[k]) for k in ("pearson", "spearman", "cpr", "cmd"))
    return MetricValidation(
        str(m["metric"]), pearson, spearman, cpr, cmd, None if m["smallest_k"] is None else whole(m["smallest_k"]),
        [Point(whole(p["k"]), _number(p["faithfulness"]), _number(p["completeness"])) for p in m["curve"]],
        [_control(c) for c in m["controls"]],
    )  # fmt: skip


def _control(c: dict[str, Any]) -> Control:
    observed, mean, low, high, p = (_number(c[k]) for k in ("observed", "random_mean", "low", "high", "p"))
    return Control(whole(c["k"]), observed, mean, low, high, whole(c["n_random"]), p)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
