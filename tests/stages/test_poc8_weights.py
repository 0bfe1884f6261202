"""`poc8_weights` end to end: its files, runs with and without prompts, resuming, and its commonest mistakes."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import DEMO_RUN
from record_runs import make_record_run
from tiny_models import D_MLP, N_LAYERS, tiny_model_dir

from neuron_signatures.poc8_weights import main
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.verify import verify_run
from neuron_signatures.runs.weights.folder import CLASSES, WEIGHTS_FOLDER
from neuron_signatures.weights import measure, nearest
from neuron_signatures.weights.model_weights import model_weights
from neuron_signatures.weights.panels import unit_rows

FAST = ["--device", "cpu", "--n_random", "100", "--n_permuted", "100"]
LAYERS, NEURONS = 5, 512


class Stop(Exception):
    """Stands for a failure of a library."""


def call(*flags: str | Path) -> int:
    return main([*map(str, flags), *FAST])


def refused(capsys, *flags: str | Path, code: int = 2) -> str:
    capsys.readouterr()
    assert call(*flags, "--quiet") == code
    error: str = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def content(run_dir: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (run_dir / "weights").glob("*.parquet")}


@pytest.fixture
def run_dir(tmp_path) -> Path:
    """The small committed run of the demo model."""
    return Path(shutil.copytree(DEMO_RUN, tmp_path / "run", ignore=shutil.ignore_patterns("analysis")))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The same with a corpus and all results."""
    run_dir = tmp_path_factory.mktemp("weights") / "run"
    shutil.copytree(DEMO_RUN, run_dir, ignore=shutil.ignore_patterns("analysis"))
    make_record_run(run_dir, with_sample=False, n_documents=20)
    assert call("--run_dir", run_dir, "--figures", "png,svg") == 0
    return run_dir


@pytest.fixture
def model(tmp_path) -> Path:
    """The folder of a tiny model without a gate."""
    return Path(shutil.copytree(tiny_model_dir("gpt2"), tmp_path / "model"))


def test_the_tables(made):
    assert verify_run(made).faults == []
    neurons = WEIGHTS_FOLDER.read_table(made, "statistics")
    assert len(neurons) == LAYERS * NEURONS and set(neurons["class"]) <= set(CLASSES)
    assert neurons.drop(columns="class").notna().all(axis=None)  # also frequency_correlation: the run has a corpus
    assert neurons["null_share"].between(0, 1).all() and neurons["cos_in_gate"].between(-1, 1).all()
    random = WEIGHTS_FOLDER.read_table(made, "random_directions")
    assert random.groupby("layer").size().tolist() == [20] * LAYERS
    neighbours = WEIGHTS_FOLDER.read_table(made, "neighbours")
    assert len(neighbours) == LAYERS * NEURONS * 3 * 10
    assert set(WEIGHTS_FOLDER.read_table(made, "neighbour_null")["weight"]) == {"output", "input", "gate"}
    own = neighbours[(neighbours["layer"] == 2) & (neighbours["neuron"] == 7)]
    assert own["weight"].tolist() == ["output"] * 10 + ["input"] * 10 + ["gate"] * 10
    assert own["rank"].tolist() == list(range(1, 11)) * 3
    assert (own.groupby("weight")["cosine"].apply(lambda c: c.abs().is_monotonic_decreasing)).all()


def test_neighbours_are_those_of_brute_force(made):
    from neuron_signatures.models.load import load_model
    from neuron_signatures.models.spec import ModelSpec

    weights = model_weights(load_model(ModelSpec("demo", dtype="fp32", device="cpu")).hf)
    table = WEIGHTS_FOLDER.read_table(made, "neighbours")
    for kind in weights.kinds:
        rows = unit_rows(weights, range(LAYERS), kind).double()
        for layer, neuron in ((0, 3), (4, 178)):
            at = layer * NEURONS + neuron
            cosines = rows @ rows[at]
            cosines[at] = 0
            want = cosines.abs().argsort(descending=True)[:10]
            own = table[(table["layer"] == layer) & (table["neuron"] == neuron) & (table["weight"] == kind)]
            assert (own["other_layer"] * NEURONS + own["other_neuron"]).tolist() == want.tolist()
            np.testing.assert_allclose(own["cosine"], cosines[want], atol=1e-6)


def test_the_record(made):
    record = WEIGHTS_FOLDER.read_record(made, "statistics")
    assert record.settings["rules"]["kurtosis"] == 10 and record.settings["model_dtype"] == "fp32"
    assert set(record.sources) == {"records/corpus_meta.json"} and WEIGHTS_FOLDER.outdated(made, record) == []
    facts = record.facts
    assert sum(found["neurons"] for found in facts["classes"].values()) == LAYERS * NEURONS
    assert sum(found["random_share"] for found in facts["classes"].values()) == pytest.approx(1)
    assert facts["classes"]["prediction"]["share"] > facts["classes"]["prediction"]["random_share"]
    assert facts["neighbours"]["output"]["n_null"] == 100
    assert "gated MLPs" in record.warnings[0] and len(record.warnings) == 1
    assert {p.name for p in (made / "weights" / "figures").iterdir()} == {
        f"{stem}.{kind}"
        for stem in ("kurtosis_skewness", "classes_by_layer", "norm_variance", "nearest_neighbours")
        for kind in ("png", "svg")
    }


def test_the_summary(made, capsys, caplog):
    caplog.set_level(logging.INFO, logger="neuron_signatures")
    before = content(made)
    assert call("--run_dir", made) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in CLASSES) and "random directions" in out and "nearest pair" in out
    assert "the statistics are finished" in caplog.text and content(made) == before
    assert call("--run_dir", made, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert len(summary["first"]["prediction"]) == 3 and summary["facts"]["n_random"] == 100


def test_the_same_command_writes_the_same(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    assert call("--run_dir", tmp_path / "run", "--overwrite") == 0
    assert content(tmp_path / "run") == content(made)


def test_another_setting_computes_again(run_dir):
    assert call("--run_dir", run_dir, "--layers", "1,-1", "--neighbours", "output", "--top", "2") == 0
    assert set(WEIGHTS_FOLDER.read_table(run_dir, "statistics")["layer"]) == {1, 4}
    neighbours = WEIGHTS_FOLDER.read_table(run_dir, "neighbours")
    assert len(neighbours) == 2 * NEURONS * 2 and set(neighbours["other_layer"]) == {1, 4}
    assert call("--run_dir", run_dir, "--layers", "4", "--neighbours", "none", "--figures", "png") == 0
    assert WEIGHTS_FOLDER.read_table(run_dir, "neighbours").empty
    assert not (run_dir / "weights" / "figures" / "nearest_neighbours.png").exists()
    assert WEIGHTS_FOLDER.read_table(run_dir, "statistics")["frequency_correlation"].isna().all()


def test_a_new_corpus_computes_again(run_dir):
    assert call("--run_dir", run_dir, "--layers", "4", "--neighbours", "none") == 0
    make_record_run(run_dir, with_sample=False, n_documents=20)
    assert call("--run_dir", run_dir, "--layers", "4", "--neighbours", "none") == 0
    assert WEIGHTS_FOLDER.read_table(run_dir, "statistics")["frequency_correlation"].notna().all()


def test_a_new_run_holds_no_prompts(tmp_path, model):
    run_dir = tmp_path / "new"
    assert call("--out_dir", run_dir, "--model_name", model) == 0
    with Run.open(run_dir) as run:
        assert run.prompts == [] and run.manifest.stage == "poc8_weights" and run.manifest.n_layers == N_LAYERS
        assert run.manifest.model_dtype == "fp32"  # as published
    assert verify_run(run_dir).faults == []
    neurons = WEIGHTS_FOLDER.read_table(run_dir, "statistics")
    assert len(neurons) == N_LAYERS * D_MLP and neurons["norm_gate"].isna().all()
    assert set(WEIGHTS_FOLDER.read_table(run_dir, "neighbours")["weight"]) == {"output", "input"}
    assert call("--out_dir", run_dir, "--model_name", model) == 0  # the same command again
    assert call("--run_dir", run_dir, "--overwrite") == 0


def test_another_model_is_refused(tmp_path, model, run_dir, capsys):
    new = tmp_path / "new"
    assert call("--out_dir", new, "--model_name", model, "--neighbours", "none") == 0
    other = Path(shutil.copytree(tiny_model_dir("llama"), tmp_path / "other"))
    for flags in (("--run_dir", new), ("--out_dir", new)):
        assert "the model is not the one of the dump" in refused(capsys, *flags, "--model_name", other, code=3)
    assert "the model is not the one" in refused(capsys, "--run_dir", run_dir, "--model_name", model, code=3)


def test_a_forecast_writes_nothing(tmp_path, run_dir, model, capsys):
    before = sorted(run_dir.rglob("*"))
    assert call("--run_dir", run_dir, "--dry_run") == 0
    assert call("--out_dir", tmp_path / "new", "--model_name", model, "--dry_run", "--json") == 0
    line, record = capsys.readouterr().out.splitlines()
    assert line.startswith("forecast: 2,560 neurons") and "neighbours by output, input, gate" in line
    fields = json.loads(record)
    assert fields["kinds"] == ["output", "input"] and fields["neighbour_operations"] == 2 * (N_LAYERS * D_MLP) ** 2 * 32
    assert not (tmp_path / "new").exists() and sorted(run_dir.rglob("*")) == before


def test_the_forecast_comes_first(run_dir, caplog):
    caplog.set_level(logging.INFO, logger="neuron_signatures")
    assert main(["--run_dir", str(run_dir), *FAST, "--layers", "0"]) == 0
    assert "forecast: 512 neurons" in caplog.text


def small_panels(monkeypatch) -> None:
    """A panel per layer, as in large models."""
    for module in (measure, nearest):
        monkeypatch.setattr(module, "panels_of", lambda weights, layers: [[layer] for layer in layers])


def stop_at(monkeypatch, module, name: str, number: int, stop) -> None:
    """Call `stop` in the call `number` (from 1) of a function."""
    real, calls = getattr(module, name), []

    def counted(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            stop()
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)


def fail() -> None:
    raise Stop


@pytest.mark.parametrize(
    ("module", "name", "number", "said"),
    [
        (measure, "write_statistics", 4, "resuming with 3 of 5 layers"),
        (nearest, "unit_rows", 7, "resuming the neighbours after"),
        (nearest, "best_of_permuted", 2, "resuming with 5 of 5 layers"),
    ],
)
def test_a_stopped_command_goes_on(made, tmp_path, monkeypatch, caplog, module, name, number, said):
    run_dir = Path(shutil.copytree(made, tmp_path / "run"))
    caplog.set_level(logging.INFO, logger="neuron_signatures")
    small_panels(monkeypatch)
    assert call("--run_dir", run_dir, "--overwrite") == 0
    whole = content(run_dir)
    with monkeypatch.context() as m, pytest.raises(Stop):
        stop_at(m, module, name, number, fail)
        call("--run_dir", run_dir, "--overwrite")
    with pytest.raises(UsageError, match="not been made"):
        WEIGHTS_FOLDER.read_table(run_dir, "statistics")  # the tables are those of before, without a record
    assert list((run_dir / "weights").glob("*_partial.npz")) and verify_run(run_dir).faults == []
    assert call("--run_dir", run_dir) == 0
    assert said in caplog.text and content(run_dir) == whole
    assert not list((run_dir / "weights").glob("*_partial.npz"))


def test_finished_layers_of_other_settings_are_not_used(run_dir, monkeypatch, caplog):
    small_panels(monkeypatch)
    with monkeypatch.context() as m, pytest.raises(Stop):
        stop_at(m, measure, "write_statistics", 3, fail)
        call("--run_dir", run_dir)
    caplog.set_level(logging.INFO, logger="neuron_signatures")
    assert call("--run_dir", run_dir, "--seed", "1", "--neighbours", "none") == 0
    assert "its settings were others" in caplog.text and "resuming" not in caplog.text


def test_sigterm_is_resumable(tmp_path, model, monkeypatch, capsys):
    """Also where the run was made by the command itself."""
    small_panels(monkeypatch)
    with monkeypatch.context() as m:
        stop_at(m, measure, "write_statistics", 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        error = refused(capsys, "--out_dir", tmp_path / "new", "--model_name", model, code=75)
    assert "finished work is kept" in error
    assert call("--out_dir", tmp_path / "new", "--model_name", model) == 0
    assert len(WEIGHTS_FOLDER.read_table(tmp_path / "new", "statistics")) == N_LAYERS * D_MLP


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--run_dir is an existing run"),
        (["--run_dir", "RUN", "--out_dir", "NEW"], "--run_dir is an existing run"),
        (["--out_dir", "NEW"], "a new run needs a model"),
        (["--out_dir", "RUN/analysis", "--model_name", "nowhere/at-all"], "nowhere/at-all"),
        (["--run_dir", "RUN", "--model_revision", "main"], "the revision and quantisation are those of the run"),
        (["--run_dir", "RUN", "--layers", "9"], "9 is not in 0..4"),
        (["--run_dir", "RUN", "--neighbours", "out"], "'out' is not none or a list of output, input, gate"),
        (["--run_dir", "RUN", "--figures", "pdf"], "'pdf' is not png, svg or png,svg"),
        (["--run_dir", "RUN", "--null_quantile", "2"], "2 is not in [0, 1]"),
    ],
)
def test_mistakes(run_dir, tmp_path, capsys, flags, message):
    given = [f.replace("RUN", str(run_dir)).replace("NEW", str(tmp_path / "new")) for f in flags]
    code = main([*given, *FAST, "--quiet"])
    error = capsys.readouterr().err
    assert code in (1, 2) and message in error and error.count("\n") == 1
    assert not (run_dir / "weights").exists() and not (tmp_path / "new").exists()


def test_a_gate_that_the_model_lacks(tmp_path, model, capsys):
    error = refused(capsys, "--out_dir", tmp_path / "new", "--model_name", model, "--neighbours", "gate")
    assert "have no gate" in error and not (tmp_path / "new").exists()


def test_a_folder_with_other_files_is_refused(tmp_path, model, capsys):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "notes.txt").write_text("mine")
    assert "new" in refused(capsys, "--out_dir", tmp_path / "new", "--model_name", model)


@pytest.mark.parametrize("damage", ["truncated", "missing", "record"])
def test_a_damaged_result_is_refused(made, tmp_path, damage):
    run_dir = Path(shutil.copytree(made, tmp_path / "run"))
    folder = run_dir / "weights"
    if damage == "record":
        record = json.loads((folder / "statistics_meta.json").read_text())
        (folder / "statistics_meta.json").write_text(json.dumps({**record, "facts": {}}))
    elif damage == "missing":
        (folder / "neighbours.parquet").unlink()
    else:
        raw = (folder / "neighbours.parquet").read_bytes()
        (folder / "neighbours.parquet").write_bytes(raw[: len(raw) // 2])
    assert verify_run(run_dir).faults
    with pytest.raises(BadRunError):
        WEIGHTS_FOLDER.read_table(run_dir, "neighbours")


def test_neurons_without_weights_have_no_neighbours_and_are_none(tmp_path, model):
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    weights["transformer.h.1.mlp.c_proj.weight"][4] = 0
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    run_dir = tmp_path / "new"
    assert call("--out_dir", run_dir, "--model_name", model, "--top", str(N_LAYERS * D_MLP)) == 0
    neurons = WEIGHTS_FOLDER.read_table(run_dir, "statistics").set_index(["layer", "neuron"])
    assert np.isnan(neurons.loc[(1, 4), "logit_kurtosis"]) and neurons.loc[(1, 4), "class"] == "none"
    table = WEIGHTS_FOLDER.read_table(run_dir, "neighbours")
    output = table[table["weight"] == "output"]
    assert not ((output["layer"] == 1) & (output["neuron"] == 4)).any()
    assert not ((output["other_layer"] == 1) & (output["other_neuron"] == 4)).any()
    warnings = WEIGHTS_FOLDER.read_record(run_dir, "statistics").warnings
    assert "1 neurons have output weights of 0" in warnings[0] and not any("gated" in w for w in warnings)
    n = N_LAYERS * D_MLP
    assert len(output) == (n - 1) * (n - 2) and len(table) - len(output) == n * (n - 1)


def test_torch_is_not_imported_for_the_flags():
    assert torch  # of this process; the flags' modules do not import it themselves
    from neuron_signatures.cli import weights as flags

    assert "torch" not in vars(flags)
