"""Stage 2 with prob_increase and prob_increase_query: files, names, viewers, validation and mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import DEMO_RUN

from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.results import list_influence, list_validations, read_json
from neuron_signatures.runs.tables import read_table
from neuron_signatures.stats.correlation import spearman
from neuron_signatures.views.lists.list_files import list_refs, read_list
from neuron_signatures.views.lists.validated import landing_list

SEED = ["--mode", "influence", "--prompt_id", "seed_prompt", "--target_mode", "next_token", "--target_token", " Austin"]
BOTH = ("prob_increase", "prob_increase_query")
STEM = "influence_seed_prompt_{}_next_token_pos8_tok704_ref-mean"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small committed run with both metrics, and dla with a validation."""
    folder = tmp_path_factory.mktemp("prob_increase") / "run"
    shutil.copytree(DEMO_RUN, folder, ignore=shutil.ignore_patterns("analysis"))
    flags = ["--influence_metric", "dla,prob_increase,prob_increase_query", "--validate", "--layers", "3,4"]
    assert main(["--run_dir", str(folder), "--quiet", *SEED, *flags, "--sample", "100"]) == 0
    return folder


def record_of(run_dir: Path, stem: str) -> dict[str, Any]:
    return read_json(run_dir, f"{stem}_meta.json")


def test_both_scores_of_value_neurons_are_stored(run_dir: Path) -> None:
    stem = f"{STEM.format('prob_increase')}_layers3-4"
    table, record = read_table(run_dir, stem), record_of(run_dir, stem)
    assert sorted(set(table.layer)) == [3, 4] and set(table.function) == {"logprob"}
    assert table.influence.notna().all() and table.influence_centred.notna().all()
    np.testing.assert_allclose(table.abs_influence, table.influence_centred.abs(), rtol=1e-6)
    assert record["target"]["function"] == "logprob" and record["additive"] is False
    assert record["target"]["value"] == pytest.approx(np.log(record["target"]["token"]["probability"]))
    assert len(record["log_p_before"]) == 2 and max(record["log_p_before"]) < 0
    assert any("not of the pre_cap_logit" in w for w in record["warnings"])


def test_query_neurons_name_their_value_neurons(run_dir: Path) -> None:
    values = read_table(run_dir, f"{STEM.format('prob_increase')}_layers3-4")
    stem = f"{STEM.format('prob_increase_query')}_layers3-4"
    table, record = read_table(run_dir, stem), record_of(run_dir, stem)
    assert sorted(set(table.layer)) == [0, 1, 2, 3, 4]  # the layers are those of the value neurons
    np.testing.assert_allclose(table.influence, table.activation * table.w_to_values, rtol=1e-5, atol=1e-7)
    assert not table.influence[table.layer == 4].any() and (table.influence[table.layer == 3] != 0).any()
    first = values.sort_values("abs_influence", ascending=False, kind="stable").head(100)
    chosen = [(v["layer"], v["neuron"]) for v in record["value_neurons"]]
    assert chosen == list(zip(first.layer, first.neuron, strict=True))
    increases = [v["prob_increase"] for v in record["value_neurons"]]
    np.testing.assert_allclose(increases, first.influence_centred, rtol=1e-6)


def test_viewers_list_both(run_dir: Path) -> None:
    refs = list_refs(run_dir)
    for metric in BOTH:
        (ref,) = [r for r in refs if r.title.startswith(f"{metric} by mean → ·Austin")]
        ranked = read_list(run_dir, ref)
        assert ranked.score_name == "centred influence (logprob)"
        scores = np.abs(ranked.score[np.isfinite(ranked.score)])
        assert (np.diff(scores) <= 0).all() and scores[0] > 0
    landing = landing_list(run_dir, refs)
    assert landing is not None and landing.title.startswith("dla by mean")  # the one that was validated


def test_a_validation_leaves_out_what_is_not_of_its_function(run_dir: Path) -> None:
    (stem,) = list_validations(run_dir)
    record = read_json(run_dir, f"{stem}.json")
    assert [m["metric"] for m in record["metrics"]] == ["dla"] and set(record["not_compared"]) == set(BOTH)
    assert "use --function logprob" in record["not_compared"]["prob_increase"]
    assert sum("is not compared" in w for w in record["warnings"]) == 2


def test_a_validation_of_the_log_probability_compares_it(run_dir: Path) -> None:
    flags = ["--influence_metric", "prob_increase,ablation", "--validate", "--layers", "4", "--sample", "all"]
    assert main(["--run_dir", str(run_dir), "--quiet", *SEED, *flags, "--function", "logprob"]) == 0
    (stem,) = [s for s in list_validations(run_dir) if "_logprob_" in s]
    record = read_json(run_dir, f"{stem}.json")
    names = [s for s in list_influence(run_dir) if "_logprob" in s]
    scores, truth = (
        read_table(run_dir, next(s for s in names if f"_{metric}_" in s)) for metric in ("prob_increase", "ablation")
    )
    assert [m["metric"] for m in record["metrics"]] == ["prob_increase", "ablation"] and not record["not_compared"]
    assert record["metrics"][0]["spearman"] == pytest.approx(
        spearman(scores.influence_centred.to_numpy(np.float64), truth.influence_centred.to_numpy(np.float64)), abs=1e-6
    )
    # In the last layer nothing responds but the other neurons' sum: the stream that they are added to.
    assert record["metrics"][0]["spearman"] > 0.5


def test_the_number_of_value_neurons_is_part_of_the_name(run_dir: Path) -> None:
    flags = ["--influence_metric", "prob_increase_query", "--value_neurons", "3"]
    assert main(["--run_dir", str(run_dir), "--quiet", *SEED, *flags]) == 0
    record = record_of(run_dir, f"{STEM.format('prob_increase_query')}_values3")
    assert len(record["value_neurons"]) == 3 and record["settings"]["value_neurons"] == 3


def test_candidates_of_ablation_can_come_from_it(run_dir: Path) -> None:
    flags = ["--influence_metric", "prob_increase,ablation", "--top_from", "prob_increase:7", "--layers", "3"]
    assert main(["--run_dir", str(run_dir), "--quiet", *SEED, *flags]) == 0
    table = read_table(run_dir, f"{STEM.format('ablation')}_layers3_top-prob_increase-7")
    assert int(table.influence_centred.notna().sum()) == 7


def test_a_validation_with_nothing_to_compare_is_refused(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--influence_metric", "prob_increase,prob_increase_query", "--validate"]
    assert main(["--run_dir", str(run_dir), "--quiet", *SEED, *flags]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "nothing to compare" in err and "--function logprob" in err


def test_the_flag_belongs_to_influence(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run_dir", str(run_dir), "--value_neurons", "5"]) == 2
    assert "--value_neurons: has no effect with --mode peaks" in capsys.readouterr().err
