"""`poc4_extract_records similar` from the command line, on a model with planted copies of neurons."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from record_stage import flags, write_corpus
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model_dir

from neuron_signatures.poc4_extract_records import main
from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER, SIMILAR, TABLES
from neuron_signatures.runs.records.reader import Records

FAST = ["--n_draws", "5", "--device", "cpu", "--quiet"]
COPIES = {10: 4, 11: 4}
"""Neurons of layer 1 that repeat neuron 4 with noise; the second one with the opposite sign."""


def planted_model(folder: Path) -> Path:
    """The tiny Gemma-2 with near copies of a neuron: its gate, and its input with a factor, a sign and noise."""
    shutil.copytree(tiny_model_dir("gemma2"), folder)
    file = folder / "model.safetensors"
    weights = load_file(file)
    generator = torch.Generator().manual_seed(0)
    for copy, source in COPIES.items():
        sign = 1.5 if copy == 10 else -0.7
        for name, factor in (("gate_proj", 1.0), ("up_proj", sign)):
            w = weights[f"model.layers.1.mlp.{name}.weight"]
            w[copy] = factor * w[source] + 0.02 * w.std() * torch.randn(w.shape[1], generator=generator)
    save_file(weights, file, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("similar")
    model = planted_model(folder / "model")
    corpus = write_corpus(folder / "corpus.jsonl", n=120)
    command = flags(corpus, folder / "run", "--top_records", "8", "--neurons", "L1N4,L1N10,L1N11,L0N3,L2N7")
    command[command.index("--model_name") + 1] = str(model)
    assert main(command) == 0
    return folder / "run"


def test_planted_copies_are_found_first_with_their_sign(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similar", "--run_dir", str(run_dir), "--neurons", "L1N4,L1N10,L1N11", *FAST]) == 0
    out = capsys.readouterr().out
    assert "3 neurons among 264" in out and "95th percentile of the null" in out
    table = CORPUS_ANALYSIS_FOLDER.read_table(run_dir, SIMILAR)
    assert list(table.columns) == list(TABLES[SIMILAR].columns)
    mine = table[(table["kind"] == "activation") & (table["neuron"] == 4) & (table["rank"] <= 2)]
    assert dict(zip(mine["other_neuron"], np.sign(mine["value"]), strict=True)) == {10: 1, 11: -1}
    assert (mine["value"].abs() > mine["null_high"]).all() and (mine["other_layer"] == 1).all()
    assert ((mine["low"] <= mine["value"]) & (mine["value"] <= mine["high"])).all()
    poles = table[(table["kind"] == "windows") & (table["neuron"] == 4)]
    copies = poles[poles["other_neuron"].isin([10, 11]) & (poles["other_layer"] == 1)]
    best = copies.groupby("pole")["value"].idxmax()
    found = copies.loc[copies["rank"] <= 2, ["pole", "other_neuron", "other_pole"]].to_numpy().tolist()
    assert sorted(found) == [["+", 10, "+"], ["+", 11, "-"], ["-", 10, "-"], ["-", 11, "+"]] and len(best) == 2
    record = CORPUS_ANALYSIS_FOLDER.read_record(run_dir, "similar")
    assert record.facts["activation"]["n_tokens"] == mine["n"].iloc[0] and record.sources
    assert record.facts["windows"]["list_length"] == poles["n"].max()


def test_the_sample_needs_no_model_and_agrees_with_it(run_dir: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run_dir, tmp_path / "run")
    both = []
    for more in ([], ["--candidates", "sampled"]):
        if more:  # the model is gone
            manifest = json.loads((moved / "manifest.json").read_text())
            assert manifest["model_name"] == str(run_dir.parent / "model")
            (run_dir.parent / "model").rename(run_dir.parent / "away")
        try:
            command = ["similar", "--run_dir", str(moved), "--kinds", "activation", "--n_similar", "300", *FAST, *more]
            assert main(command) == 0
        finally:
            if more:
                (run_dir.parent / "away").rename(run_dir.parent / "model")
        table = CORPUS_ANALYSIS_FOLDER.read_table(moved, SIMILAR)
        both.append(table.set_index(["layer", "neuron", "other_layer", "other_neuron"])["value"])
    everything, sampled = both
    assert len(sampled) == 5 * 4 and len(everything) == 5 * 263
    with Records.open(moved) as records:
        assert len(records.sampled_neurons) == 5
    np.testing.assert_allclose(sampled, everything.loc[sampled.index], atol=1e-5)


def test_a_forecast_writes_nothing(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = shutil.copytree(run_dir, tmp_path / "run", ignore=shutil.ignore_patterns("corpus_analysis"))
    assert main(["similar", "--run_dir", str(moved), "--dry_run", "--json", *FAST]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_neurons"] == 5 and found["n_candidates"] == 264 and found["operations"] > 0
    assert not (moved / "corpus_analysis").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--neurons", "L9N1"], "there is no neuron L9N1"),
        (["--layers", "7"], "--layers: 7 is not in 0..2"),
        (["--layers", "0", "--neurons", "L1N4"], "L1N4 is not in a recorded layer"),
        (["--candidates", "sampled", "--neurons", "L1N5"], "L1N5 is not in the stored sample"),
        (["--kinds", "meaning"], "is not a list of activation, windows"),
        (["--top_k", "3"], "--top_k counts the neurons of --from"),
        (["--neuron", "L1N4"], "did you mean --neurons"),
    ],
)
def test_mistakes_are_one_line(
    run_dir: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(["similar", "--run_dir", str(run_dir), *FAST, *more]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_run_without_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similar", "--run_dir", str(tmp_path), "--quiet"]) != 0
    assert capsys.readouterr().err.count("\n") == 1


def test_another_model_is_refused(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = str(tiny_model_dir("gemma2"))
    assert main(["similar", "--run_dir", str(run_dir), "--model_name", other, *FAST]) == 3
    assert "the model is not the one of the dump" in capsys.readouterr().err


def test_a_stopped_command_leaves_no_result(run_dir: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run_dir, tmp_path / "run", ignore=shutil.ignore_patterns("corpus_analysis"))
    script = (
        "import sys, time\n"
        "from neuron_signatures.corpus_analysis.similar import stage\n"
        "stage._by_windows = lambda command: (print('begun', flush=True), time.sleep(60))\n"
        "from neuron_signatures.poc4_extract_records import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", script, "similar", "--run_dir", str(moved), "--kinds", "windows", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75 and "run the same command again" in error
    assert CORPUS_ANALYSIS_FOLDER.finished(moved) == ()
    assert main(["similar", "--run_dir", str(moved), "--kinds", "windows", *FAST]) == 0
    assert CORPUS_ANALYSIS_FOLDER.finished(moved) == ("similar",)
