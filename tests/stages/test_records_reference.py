"""Stages 2 and 3 with `--reference records`: the means and standard deviations of a corpus, in scores and ablations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from intervention_runs import argv_of
from paths import DEMO_RUN

from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.poc2_analyze_run import main as analyze
from neuron_signatures.poc3_intervene import main as intervene
from neuron_signatures.poc4_extract_records import main as extract
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.results import list_influence, list_interventions, list_validations, read_json
from neuron_signatures.runs.tables import read_table
from neuron_signatures.views.lists.list_files import list_refs
from neuron_signatures.views.lists.validated import validations

INFLUENCE = ["--mode", "influence", "--quiet", "--reference", "records"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one prompt, too short for a mean of its own, with records of a corpus."""
    folder = tmp_path_factory.mktemp("records_reference") / "run"
    model = ["--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    prompt = ["--single_prompt", "The capital of Texas is", "--out_dir", str(folder), "--save_dtype", "fp32"]
    assert dump([*model, *prompt]) == 0
    corpus = ["--corpus", "demo", "--max_tokens", "3000", "--top_records", "2", "--neurons", "L3N508"]
    assert extract(["--run_dir", str(folder), "--device", "cpu", "--quiet", *corpus]) == 0
    return folder


@pytest.fixture(scope="module")
def means(run_dir: Path) -> np.ndarray:
    with Records.open(run_dir) as records:
        return np.stack([records.layer_moments(layer, parts=["explain"]).mean for layer in records.layers])


@pytest.fixture(scope="module")
def validated(run_dir: Path) -> dict:
    """The validation of dla and act_grad, with every neuron of layer 4 ablated."""
    flags = ["--influence_metric", "dla,act_grad", "--validate", "--layers", "4", "--sample", "all"]
    assert analyze(["--run_dir", str(run_dir), *INFLUENCE, *flags]) == 0
    (stem,) = list_validations(run_dir)
    return read_json(run_dir, f"{stem}.json")


def stem_of(run_dir: Path, metric: str) -> str:
    (stem,) = [s for s in list_influence(run_dir) if f"_{metric}_" in s and "_ref-records-" in s]
    return stem


def test_scores_are_the_distance_from_the_means_of_the_corpus(run_dir, means, validated) -> None:
    for metric, column in {"dla": "w_to_logit", "act_grad": "grad"}.items():
        table = read_table(run_dir, stem_of(run_dir, metric))
        want = (table.activation - means[table.layer, table.neuron]) * table[column]
        np.testing.assert_allclose(table.influence_centred, want, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(table.abs_influence, want.abs(), rtol=1e-3, atol=1e-5)
    assert validated["m_full"] != validated["m_empty"]


def test_ablated_neurons_are_set_to_the_same_means(run_dir, means, validated) -> None:
    assert validated["reference"] == "records" and validated["truth"].endswith("to the reference (records)")
    names = ["L4N178", "L4N20"]
    flags = ["--neurons", ",".join(names), "--reference", "records"]
    assert intervene(argv_of(run_dir, *flags)) == 0
    (stem,) = [s for s in list_interventions(run_dir) if s.startswith("effect")]
    effects = pd.read_parquet(run_dir / "interventions" / f"{stem}.parquet").set_index(["layer", "neuron"])
    scores = read_table(run_dir, stem_of(run_dir, "ablation")).set_index(["layer", "neuron"]).influence_centred
    for key, row in effects.iterrows():
        assert row.value == pytest.approx(means[key], abs=1e-6)
        assert -row.effect == pytest.approx(scores[key], abs=1e-4)


def test_results_name_the_records(run_dir, validated, capsys: pytest.CaptureFixture[str]) -> None:
    with Records.open(run_dir) as records:
        corpus, n = records.meta.corpus_sha256, int(records.layer_moments(0, parts=["explain"]).count[0])
    for metric in ("dla", "act_grad", "ablation"):
        stem = stem_of(run_dir, metric)
        assert f"_ref-records-{corpus[:8]}" in stem
        record = read_json(run_dir, f"{stem}_meta.json")
        assert (record["reference"], record["reference_tokens"], record["reference_run"]) == ("records", n, None)
        assert record["reference_records"]["corpus_sha256"] == corpus
        assert record["reference_records"]["part"] == "explain"
        assert set(read_table(run_dir, stem).reference) == {"records"}
        assert any(r.stem == stem and r.title.startswith(f"{metric} by records → ") for r in list_refs(run_dir))
    assert analyze(["--run_dir", str(run_dir), *INFLUENCE]) == 0
    assert f"by the reference records (over {n} tokens of the corpus records, part explain)" in capsys.readouterr().out
    assert intervene(argv_of(run_dir, "--neurons", "L3N508", "--reference", "records")) == 0
    assert f"set to the mean over {n} tokens of the corpus records, part explain" in capsys.readouterr().out
    (stem,) = [s for s in list_interventions(run_dir) if s.startswith("effect") and "L3N508" in s]
    settings = read_json(run_dir, f"{stem}_meta.json")["settings"]
    assert settings["reference_records"]["corpus_sha256"] == corpus and f"ref-records-{corpus[:8]}" in stem


def test_a_validation_is_shown_beside_lists_by_the_same_records(run_dir, validated) -> None:
    refs = list_refs(run_dir)
    shown = {s for s in validations(run_dir, refs) if "_ref-records-" in s}
    assert {stem_of(run_dir, m) for m in ("dla", "act_grad", "ablation")} <= shown
    (stem,) = list_validations(run_dir)
    path = run_dir / "analysis" / f"{stem}.json"
    before = path.read_text()
    path.write_text(before.replace(validated["reference_records"]["corpus_sha256"], "0" * 64))
    try:
        assert not validations(run_dir, refs)
    finally:
        path.write_text(before)


def test_cmd_has_no_spread(validated) -> None:
    assert all(m["cmd_draws"] == [] and m["cmd_spread"] is None for m in validated["metrics"])


def test_the_short_run_suggests_its_records(run_dir, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze(["--run_dir", str(run_dir), "--mode", "influence", "--quiet"]) == 0
    assert "--reference records takes the mean over the run's corpus" in capsys.readouterr().out


def test_steering_in_standard_deviations_of_the_corpus(run_dir, capsys: pytest.CaptureFixture[str]) -> None:
    with Records.open(run_dir) as records:
        std = records.moments(3, 508, parts=["explain"]).std
        corpus = records.meta.corpus_sha256
    flags = ["--mode", "steer", "--neurons", "L3N508", "--alpha", "2", "--max_new_tokens", "0"]
    assert intervene(argv_of(run_dir, *flags, "--reference", "records", "--json")) == 0
    summary = json.loads(capsys.readouterr().out)
    assert f"tokens of the corpus records, part explain ({std:.3g})" in summary["unit"]
    (stem,) = [s for s in list_interventions(run_dir) if s.startswith("steer")]
    assert f"_ref-records-{corpus[:8]}" in stem
    record = read_json(run_dir, f"{stem}_meta.json")
    assert record["settings"]["reference_records"]["corpus_sha256"] == corpus
    assert not any("rough" in w for w in record["warnings"])
    assert intervene(argv_of(run_dir, *flags, "--json")) == 0
    summary = json.loads(capsys.readouterr().out)
    assert "standard deviation over the run" in summary["unit"] and any("rough" in w for w in summary["warnings"])


@pytest.mark.parametrize(
    ("flags", "needle"),
    [
        (["--neurons", "L3N508", "--reference", "mean"], "from the run (default) or from records"),
        (["--neurons", "L3N508", "--reference", "records", "--unit", "1"], "has no effect with --unit 1"),
        (["--direction", "L3N508", "--reference", "records"], "has no effect on a direction"),
    ],
)
def test_steering_refuses_other_references(run_dir, capsys, flags: list[str], needle: str) -> None:
    assert intervene(argv_of(run_dir, "--mode", "steer", *flags)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and needle in err


def test_runs_without_records_say_how_to_make_them(capsys: pytest.CaptureFixture[str]) -> None:
    steer = ["--mode", "steer", "--neurons", "L3N508"]
    for main, flags in ((analyze, ["--mode", "influence"]), (intervene, ["--neurons", "L3N508"]), (intervene, steer)):
        assert main(["--run_dir", str(DEMO_RUN), "--quiet", *flags, "--reference", "records"]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "no records of a corpus" in err and "poc4_extract_records" in err
