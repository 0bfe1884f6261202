"""Sparse probes, their control tasks, and what needs no probe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skills_made import CLASSES, Made, made, write_made
from sklearn.metrics import balanced_accuracy_score, jaccard_score

from neuron_signatures.runs.progress import silent
from neuron_signatures.runs.skills.reader import Skills
from neuron_signatures.skills.compare.probe_fit import (
    accuracy_interval,
    balanced_accuracy,
    best_unit,
    by_means,
    path,
)
from neuron_signatures.skills.compare.probes import table
from neuron_signatures.skills.compare.request import ProbeSettings
from neuron_signatures.skills.compare.specific import halves_of

FEW = ProbeSettings(n_penalties=4, n_controls=3, max_units=40)


def probed(tmp_path: Path, what: Made, settings: ProbeSettings = FEW) -> pd.DataFrame:
    with Skills.open(write_made(tmp_path, what)) as skills:
        halves = halves_of(skills.texts, CLASSES)
        return table(skills, sorted(skills.banks), halves, settings, seed=0, progress=silent)


def planted(seed: int = 0, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Units 3 and 7 carry the label."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    values = rng.normal(size=(n, 30))
    values[:, 3] += 2.5 * labels
    values[:, 7] += 2.5 * labels
    return values, labels


def test_the_path_begins_with_few_units_and_finds_the_planted_ones() -> None:
    values, labels = planted()
    fits = path(values, labels, 100, 6)
    assert 1 <= fits[0].n_units <= 2 and fits[-1].n_units > fits[0].n_units
    assert [f.penalty for f in fits] == sorted((f.penalty for f in fits), reverse=True)
    assert max(balanced_accuracy(f.says, labels[100:]) for f in fits) > 0.9


def test_held_out_observations_do_not_change_the_fit() -> None:
    values, labels = planted()
    other = labels.copy()
    other[100:] = ~other[100:]
    assert [f.n_units for f in path(values, labels, 100, 4)] == [f.n_units for f in path(values, other, 100, 4)]
    assert best_unit(values, labels, 100).unit == best_unit(values, other, 100).unit


def test_accuracy_and_iou_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    says, true = rng.random(50) < 0.3, rng.random(50) < 0.6
    assert balanced_accuracy(says, true) == pytest.approx(balanced_accuracy_score(true, says))
    values, labels = planted()
    best = best_unit(values, labels, 100)
    assert best.unit in (3, 7)
    find, held = values[:100, best.unit], values[100:, best.unit]
    middles = (np.sort(find)[1:] + np.sort(find)[:-1]) / 2
    threshold = max(middles, key=lambda t: balanced_accuracy_score(labels[:100], find > t))
    assert best.accuracy == pytest.approx(balanced_accuracy_score(labels[100:], held > threshold))
    assert best.iou == pytest.approx(jaccard_score(labels[100:], held > threshold))


def test_means_alone_tell_planted_units() -> None:
    values, labels = planted()
    assert balanced_accuracy(by_means(values[:, [3, 7, 1]], labels, 100, 2), labels[100:]) > 0.9


def test_a_perfect_probe_has_an_interval() -> None:
    true = np.arange(40) < 15
    low, high = accuracy_interval(true, true, np.arange(40), 0)
    assert high == pytest.approx(1, abs=1e-6) and 0.85 < low < 0.98


def test_tokens_of_a_text_are_not_independent() -> None:
    rng = np.random.default_rng(0)
    true, clusters = np.repeat(np.arange(20) < 10, 30), np.repeat(np.arange(20), 30)
    says = np.repeat(rng.random(20) < 0.5, 30) ^ (rng.random(600) < 0.05)
    alone = accuracy_interval(says, true, np.arange(600), 0)
    together = accuracy_interval(says, true, clusters, 0)
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_probes_of_classes_with_their_own_units(tmp_path: Path) -> None:
    rows = probed(tmp_path, made(n_per_class=60, effect=10.0))
    whole = rows[rows["layer"].isna() & (rows["level"] == "text")]
    for (_, _), path_rows in whole.groupby(["source", "class"]):
        assert path_rows["accuracy"].max() > 0.85
        assert abs(path_rows["control_accuracy"].mean() - 0.5) < 0.15
        assert path_rows["selectivity"].max() > 0.25
        assert path_rows["best_unit_accuracy"].iloc[0] > 0.75
    assert set(rows["level"]) == {"text", "token"}
    assert set(rows[rows["level"] == "text"]["layer"].dropna()) == {0, 1}


def test_probes_of_nothing_find_nothing(tmp_path: Path) -> None:
    rows = probed(tmp_path, made(n_per_class=60, effect=0.0))
    text = rows[rows["level"] == "text"]
    assert abs(text["accuracy"].mean() - 0.5) < 0.06
    assert abs(text["selectivity"].mean()) < 0.06


def test_no_probes(tmp_path: Path) -> None:
    assert probed(tmp_path, made(), ProbeSettings(enabled=False)).empty
