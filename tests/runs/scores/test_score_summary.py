"""Summaries of scores over neurons and paired comparisons, against values by hand and by numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from score_runs import make_scored_run

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.scores.reader import Scores
from neuron_signatures.runs.scores.summary import Summary, compare, summarise
from neuron_signatures.runs.scores.table import COLUMNS, typed
from neuron_signatures.stats.cluster_means import cluster_mean


def rows(*given: dict[str, Any]) -> pd.DataFrame:
    """A table from what matters in each row."""
    common = {
        "explanation_id": "1" * 16, "set": "a", "layer": 0, "neuron": 0, "pole": "+", "explainer": "highlighted",
        "explainer_model": None, "scorer": "rule", "scorer_model": None, "score": "correlation/uniform",
        "null_best": 0.1, "null_n": 20, "null_from": "layer", "null_p": 0.5, "n": 100, "split": "report",
        "status": "ok", "undefined": "", "current": True,
    }  # fmt: skip
    full = [{**dict.fromkeys(COLUMNS), **common, **row} for row in given]
    for row in full:
        row["lift"] = None if row["value"] is None or row["null_best"] is None else row["value"] - row["null_best"]
    return typed({c: [row[c] for row in full] for c in COLUMNS})


def one(table: pd.DataFrame, **kwargs: Any) -> Summary:
    (found,) = summarise(table, **kwargs)
    return found


def test_means_are_over_poles_and_undefined_ones_are_counted_apart() -> None:
    found = one(rows(
        {"neuron": 0, "value": 0.6, "null_p": 0.01}, {"neuron": 0, "pole": "-", "value": 0.0},
        {"neuron": 1, "value": 0.3, "null_p": 0.05}, {"neuron": 2, "value": None, "undefined": "too_few_examples"},
        {"neuron": 3, "value": None, "score": "", "status": "refused"},
        {"neuron": 4, "value": 0.9, "current": False},
    ))  # fmt: skip
    assert (found.n, found.n_neurons) == (3, 2)
    assert found.mean == pytest.approx(0.3) and found.median == pytest.approx(0.3)
    assert found.share_above_null == pytest.approx(2 / 3) and found.share_significant == pytest.approx(2 / 3)
    assert found.lift == pytest.approx(0.2) and found.n_with_null == 3
    assert found.undefined == {"too_few_examples": 1} and found.failed == {"refused": 1}


def test_a_null_of_too_few_draws_is_not_in_the_share_of_small_p() -> None:
    few = one(rows({"value": 0.5, "null_n": 18, "null_p": 1 / 19}))
    assert few.share_above_null == 1.0 and few.share_significant is None
    both = one(rows({"value": 0.5, "null_n": 18, "null_p": 1 / 19}, {"neuron": 1, "value": 0.5, "null_p": 1 / 21}))
    assert both.share_significant == 1.0 and both.n_with_null == 2


def test_several_explanations_of_a_pole_weigh_as_one() -> None:
    found = one(rows({"value": 0.2}, {"value": 0.4}, {"neuron": 1, "value": 0.9}))
    assert found.n == 2 and found.mean == pytest.approx(0.6)


def test_a_group_per_layer_pole_and_explainer() -> None:
    table = rows({"value": 0.2}, {"layer": 1, "value": 0.4}, {"layer": 1, "value": 0.6, "pole": "-"})
    assert [(s.group, s.mean) for s in summarise(table, by=["layer"])] == [
        ({"layer": 0}, pytest.approx(0.2)), ({"layer": 1}, pytest.approx(0.5)),
    ]  # fmt: skip
    assert [s.group for s in summarise(table, by=["layer", "pole"])][-1] == {"layer": 1, "pole": "-"}


def test_nothing_defined_is_none_everywhere() -> None:
    found = one(rows({"value": None, "null_best": None, "undefined": "constant_truth"}))
    assert found.n == 0 and found.mean is None and found.low is None and found.share_above_null is None
    only_failed = one(rows({"value": None, "score": "", "status": "timed_out"}))
    assert only_failed.score == "" and only_failed.failed == {"timed_out": 1}


def test_the_interval_is_a_bootstrap_of_whole_neurons() -> None:
    random = np.random.default_rng(1)
    of_neurons = random.normal(0.3, 0.2, 40)
    values, neurons = np.repeat(of_neurons, 2), np.repeat(np.arange(40), 2)
    both = cluster_mean(values.tolist(), neurons.tolist(), n_draws=4000, seed=0)
    assert both.mean == pytest.approx(of_neurons.mean())
    half = 1.96 * of_neurons.std() / np.sqrt(40)  # not / sqrt(80): both poles are drawn together
    assert both.low == pytest.approx(of_neurons.mean() - half, abs=0.15 * half)
    assert both.high == pytest.approx(of_neurons.mean() + half, abs=0.15 * half)
    assert cluster_mean([1.0, 2.0], ["a", "a"], n_draws=10, seed=0) == (1.5, None, None)
    assert cluster_mean([], [], n_draws=10, seed=0) == (None, None, None)


def test_a_comparison_is_paired() -> None:
    table = pd.concat([
        rows({"value": 0.5}, {"neuron": 1, "value": 0.2}, {"neuron": 2, "value": 0.1}, {"neuron": 3, "value": 0.9}),
        rows({"set": "b", "value": 0.3}, {"set": "b", "neuron": 1, "value": 0.2},
             {"set": "b", "neuron": 2, "value": 0.4}, {"set": "b", "neuron": 3, "value": None}),
    ])  # fmt: skip
    (found,) = compare(table, "a", "b")
    assert (found.n, found.n_only_one) == (3, 1) and found.wins == pytest.approx(0.5)
    assert found.difference == pytest.approx((0.2 + 0 - 0.3) / 3)
    (other,) = compare(table, "b", "a")
    assert other.difference == pytest.approx(-found.difference) and other.wins == pytest.approx(1 - found.wins)


def test_values_that_differ_by_rounding_are_equal() -> None:
    table = pd.concat([
        rows({"value": 0.1 + 0.2}, {"neuron": 1, "value": 0.5}),
        rows({"set": "b", "value": 0.3}, {"set": "b", "neuron": 1, "value": 0.5}),
    ])  # fmt: skip
    (found,) = compare(table, "a", "b")
    assert (found.wins, found.difference, found.low, found.high) == (0.5, 0, 0, 0)


def test_values_for_choosing_are_no_scores() -> None:
    table = rows({"value": 0.5, "split": "select"}, {"set": "b", "value": 0.5, "split": "select"})
    with pytest.raises(UsageError, match="no scores"):
        summarise(table)
    with pytest.raises(UsageError, match="no scores"):
        compare(table, "a", "b")


def test_sets_without_common_scores_are_named() -> None:
    table = rows({"value": 0.5}, {"set": "b", "scorer": "embedding", "value": 0.5})
    with pytest.raises(UsageError, match="no scorer has scored both"):
        compare(table, "a", "b")
    with pytest.raises(UsageError, match="no scores of the set 'c'"):
        compare(table, "a", "c")


def test_tables_of_a_run_are_summarised(tmp_path: Path) -> None:
    scores = Scores.open(make_scored_run(tmp_path / "run"))
    table = scores.table()
    found = summarise(table[table["split"] == "report"])
    detection = next(s for s in found if s.scorer == "detection")
    assert detection.scorer_model == "some-model" and detection.failed == {"timed_out": 1}
    assert detection.coverage == pytest.approx(5 / 6)
    embedding = next(s for s in found if s.set == "highlighted" and s.score == "correlation/uniform")
    assert embedding.share_above_null == 1.0 and embedding.ceiling == pytest.approx(0.98)
