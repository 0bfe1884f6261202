"""Scores of several runs beside each other: neurons, features and directions, with the differences between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.scores.summary import N_DRAWS, PoleValues, ScoreKey, pole_values
from neuron_signatures.stats.cluster_means import cluster_difference

if TYPE_CHECKING:
    import pandas as pd

Settings = Mapping[tuple[str, str, str], Mapping[str, Any]]
"""Of each set, scorer and model (empty without one): with which settings it was scored, on which corpus."""


@dataclass(frozen=True)
class RunScores:
    """The scores of one run. `label` is its name in the table, `units` what its units are, such as `pca res`."""

    label: str
    units: str
    table: pd.DataFrame
    settings: Settings


@dataclass(frozen=True)
class RunDifference:
    """One score of the units of two runs; `difference` is the mean of a less that of b.

    The units are not the same, so nothing is paired: the interval is a bootstrap of whole units of each run. It is None
    with fewer than two units in a run.
    """

    run_a: str
    units_a: str
    run_b: str
    units_b: str
    set: str
    scorer: str
    scorer_model: str | None
    score: str
    n_a: int
    """Poles with a value."""
    n_b: int
    difference: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Compared:
    """Differences of all runs from the first, and why some scores are not compared."""

    differences: list[RunDifference]
    notes: list[str]


def compare_runs(runs: Sequence[RunScores], *, n_draws: int = N_DRAWS, seed: int = 0) -> Compared:
    """Every other run against the first, score by score; only what was scored with the same settings and corpus."""
    base, found, notes = runs[0], [], []
    of_base = pole_values(base.table)
    for run in runs[1:]:
        differ: dict[tuple[str, str, str], list[str]] = {}
        for key, values in pole_values(run.table).items():
            if key not in of_base:
                continue
            names = _different(run.settings, base.settings, key)
            if names:
                differ[key[:3]] = names
                continue
            found.append(_difference(run, base, key, values, of_base[key], n_draws, seed))
        for (set_name, scorer, _), names in differ.items():
            what = ", ".join(names)
            notes.append(f"{run.label} and {base.label} are not compared by {scorer} of {set_name}: other {what}")
    return Compared(found, notes)


def _difference(
    a: RunScores, b: RunScores, key: ScoreKey, of_a: PoleValues, of_b: PoleValues, n_draws: int, seed: int
) -> RunDifference:
    mean = cluster_difference(of_a.values, of_a.neurons, of_b.values, of_b.neurons, n_draws=n_draws, seed=seed)
    return RunDifference(
        a.label, a.units, b.label, b.units, key.set, key.scorer, key.model or None, key.score, len(of_a.values),
        len(of_b.values), *mean,
    )  # fmt: skip


def _different(a: Settings, b: Settings, key: ScoreKey) -> list[str]:
    """The settings in which the two differ."""
    of_a, of_b = (settings.get(key[:3], {}) for settings in (a, b))
    return [name for name in sorted({*of_a, *of_b}) if of_a.get(name) != of_b.get(name)]
