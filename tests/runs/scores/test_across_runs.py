"""Scores of several runs in one table, and the unpaired differences between them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from score_runs import HEADLINE, make_scored_run

from neuron_signatures.poc6_score_explanations import main
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.across_runs import RunScores, compare_runs
from neuron_signatures.runs.scores.reader import Scores
from neuron_signatures.stats.cluster_means import cluster_difference, cluster_mean


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scored_run(tmp_path_factory.mktemp("scored") / "neurons")


def scores_of(path: Path, label: str) -> RunScores:
    with Run.open(path) as run:
        scores = Scores.open(run)
        table = scores.table()
        settings = {(s.set, str(s.scorer), s.scorer_model or ""): s.settings for s in scores.sets}
    return RunScores(label, "neurons", table[table["split"] == "report"], settings)


def test_the_difference_of_means_has_the_variance_of_both_sides() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 400).tolist(), rng.normal(0, 2, 100).tolist()
    found = cluster_difference(a, range(400), b, range(100), n_draws=4000, seed=0)
    assert found.mean == pytest.approx(np.mean(a) - np.mean(b))
    half = 1.96 * np.hypot(np.std(a) / 20, np.std(b) / 10)
    assert found.low == pytest.approx(found.mean - half, abs=0.06)
    assert found.high == pytest.approx(found.mean + half, abs=0.06)


def test_poles_of_one_unit_are_drawn_together() -> None:
    """Twice the same values per unit: the interval is that of the units, not of twice as many poles."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, 60), rng.normal(0, 1, 60)
    units = np.repeat(np.arange(60), 2).tolist()
    twice = cluster_difference(np.repeat(a, 2).tolist(), units, np.repeat(b, 2).tolist(), units, n_draws=2000, seed=0)
    once = cluster_difference(a.tolist(), range(60), b.tolist(), range(60), n_draws=2000, seed=0)
    assert twice.low == pytest.approx(once.low) and twice.high == pytest.approx(once.high)


def test_undefined_differences() -> None:
    assert cluster_difference([], [], [1.0], [0], n_draws=10, seed=0) == (None, None, None)
    assert cluster_difference([2.0], [0], [1.0, 3.0], [0, 1], n_draws=10, seed=0) == (0.0, None, None)
    assert cluster_mean([2.0], [0], n_draws=10, seed=0) == (2.0, None, None)


def test_equal_runs_differ_by_nothing(scored: Path) -> None:
    runs = [scores_of(scored, name) for name in ("a", "b", "c")]
    compared = compare_runs(runs)
    assert compared.notes == [] and {(d.run_a, d.run_b) for d in compared.differences} == {("b", "a"), ("c", "a")}
    for d in compared.differences:
        assert d.n_a == d.n_b and (d.difference == 0 if d.n_a else d.difference is None)
        assert d.low is None or d.low <= 0 <= d.high


def test_a_shift_is_found(scored: Path) -> None:
    a, b = scores_of(scored, "a"), scores_of(scored, "b")
    b = replace(b, table=b.table.assign(value=b.table["value"] + 0.5))
    for d in compare_runs([a, b]).differences:
        assert d.difference is None or d.difference == pytest.approx(0.5)


def test_other_settings_are_named_and_not_compared(scored: Path) -> None:
    a, b = scores_of(scored, "a"), scores_of(scored, "b")
    b = replace(b, settings={key: {**of, "corpus": "another"} for key, of in b.settings.items()})
    compared = compare_runs([a, b])
    assert compared.differences == []
    assert any(note.startswith("b and a are not compared by ") and "other corpus" in note for note in compared.notes)


def test_the_command_prints_one_table(scored: Path, tmp_path: Path, capsys) -> None:
    other = make_scored_run(tmp_path / "others")
    assert main(["summary", "--run_dir", str(scored), str(other)]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0].split()[:4] == ["run", "units", "set", "scorer"]
    assert {line.split()[0] for line in lines[1:3]} <= {"neurons", "others"}
    assert any(line.split()[:3] == ["run", "units", "less"] for line in lines)
    assert main(["summary", "--run_dir", str(scored), str(other), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["run"] for row in rows if "run" in row} == {"neurons", "others"}
    assert any(row.get("run_a") == "others" and row["score"] == HEADLINE for row in rows)
    assert main(["summary", "--run_dir", str(scored), "--json"]) == 0
    assert all(json.loads(line)["units"] == "neurons" for line in capsys.readouterr().out.splitlines())
