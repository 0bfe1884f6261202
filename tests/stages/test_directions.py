"""Directions as units: from a directions file through records and explanations to scores, and common mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from direction_files import directions_file
from record_stage import arrays, assert_same_records, extract, flags, write_corpus
from tiny_models import D_MODEL, tiny_model_dir

from neuron_signatures import (
    poc2_analyze_run,
    poc3_intervene,
    poc5_explain_neurons,
    poc6_score_explanations,
)
from neuron_signatures.models.load import load_model
from neuron_signatures.models.sites import Place, SiteCapture
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.__main__ import main as runs_main
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest_file import read_manifest
from neuron_signatures.runs.names import MANIFEST
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.names import Scorer
from neuron_signatures.runs.skills.directions import DirectionsFile
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.stage.scorers import open_scorer
from neuron_signatures.scoring.tools import Tools

LAYERS, N = (0, 2), 6


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "texts.jsonl")


@pytest.fixture(scope="module")
def directions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directions of two layers at two sites, those of the residual stream with a bias."""
    bias = {f"random.res.{layer}.bias": np.linspace(-1, 1, N, dtype=np.float32) for layer in LAYERS}
    more = bias | {"pca.mlp.1": np.eye(3, D_MODEL, dtype=np.float32)}
    path = tmp_path_factory.mktemp("directions") / "units.safetensors"
    return directions_file(path, width=D_MODEL, layers=LAYERS, n=N, more=more)


@pytest.fixture(scope="module")
def whole(corpus: Path, directions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    assert extract(*flags(corpus, path, "--directions", str(directions), "--site", "res")) == 0
    return path


def test_the_manifest_says_what_the_units_are(whole: Path, directions: Path, capsys) -> None:
    manifest, _ = read_manifest(whole)
    assert (manifest.layers, manifest.n_layers, manifest.d_mlp) == ([0, 2], 3, N)
    assert manifest.hook_name == "blocks.{layer}.hook_resid_post"
    assert manifest.units is not None
    assert (manifest.units.source, manifest.units.site, manifest.units.made_by) == ("random", "res", "other")
    with DirectionsFile(whole / manifest.units.file) as kept, DirectionsFile(directions) as given:
        assert [bank.key for bank in kept.banks] == ["random.res.0", "random.res.2"]
        bank = kept.banks[1]
        assert all(np.array_equal(a, b) for a, b in zip(kept.arrays(bank)[:2], given.arrays(bank)[:2], strict=True))
    assert runs_main(["verify", str(whole)]) == 0
    assert runs_main(["show", str(whole)]) == 0
    assert "2 of 3 layers x 6 (random at res), blocks.{layer}.hook_resid_post" in capsys.readouterr().out


def test_records_hold_the_projections(whole: Path) -> None:
    """Of the strongest window of a unit, by another path: the site's values times the direction, plus the bias."""
    hf = load_model(ModelSpec(str(tiny_model_dir("gemma2")), dtype="fp32", device="cpu")).hf
    with Records.open(whole) as records, DirectionsFile(whole / "directions.safetensors") as file:
        assert records.layers == LAYERS and records.d_mlp == N
        rows, bias, _ = file.arrays(file.banks[1])
        for pole, unit in (("+", 1), ("-", 4)):
            window = records.strongest(2, unit, pole)[0]
            assert window.acts is not None and bias is not None
            meta = records.corpus.meta
            ids = [meta.bos_token_id, *window.token_ids] if meta.prepend_bos else [*window.token_ids]
            with SiteCapture(hf, [Place("res", 2)]) as capture:
                (x,) = capture.run(torch.tensor([[int(i) for i in ids]])).values()
            want = x[0, int(meta.prepend_bos) :].numpy() @ rows[unit] + bias[unit]
            np.testing.assert_allclose(window.acts, want, rtol=1e-3, atol=1e-3)
            counted = want[window.counted_from :]
            extreme = counted.max() if pole == "+" else counted.min()
            assert window.value == pytest.approx(extreme, rel=1e-3) or window.value == pytest.approx(-extreme, rel=1e-3)


def test_shards_give_the_same_records_as_one_pass(whole: Path, corpus: Path, directions: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    both = ("--directions", str(directions), "--site", "res")
    for more in (["--shard", "1/2"], ["--shard", "2/2"], ["--merge"]):
        assert extract(*flags(corpus, path, *both, *more)) == 0
    assert_same_records(whole, path)


def test_resume_needs_the_same_directions(whole: Path, corpus: Path, directions: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    again = [*flags(corpus, path), "--resume"]
    assert extract(*again, "--directions", str(directions), "--site", "res") == 0
    assert arrays(path) == arrays(whole)
    other = directions_file(tmp_path / "other.safetensors", width=D_MODEL, layers=LAYERS, n=N)
    for more, what in (
        (["--directions", str(other)], "the units of this run are other directions"),
        (["--directions", str(directions), "--site", "mlp"], "the units of this run are other directions"),
        ([], r"the units of this run are directions (random at res)"),
    ):
        assert extract(*again, *more) == 2
        assert what in capsys.readouterr().err


def test_directions_are_explained_and_scored(whole: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    assert poc5_explain_neurons.main(["--run_dir", str(path), "--explainer", "lookup", "--quiet"]) == 0
    assert poc6_score_explanations.main(["--run_dir", str(path), "--scorers", "rule", "--quiet"]) == 0
    assert runs_main(["verify", str(path)]) == 0
    capsys.readouterr()
    assert poc6_score_explanations.main(["summary", "--run_dir", str(path), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["scorer"] for row in rows} == {"rule"} and max(row["n"] for row in rows) > 0


@pytest.mark.parametrize("scorer", ["generation", "intervention", "fade"])
def test_scorers_that_run_the_neurons_refuse_directions(scorer: Scorer, whole: Path) -> None:
    with Run.open(whole) as run, Records.open(run) as records:
        tools = Tools(run, records, Design(), None)
        what = rf"the scorer {scorer} needs neurons, and the units of this run are 6 directions \(random at res\)"
        with pytest.raises(UsageError, match=what):
            open_scorer(scorer, tools)


def test_stages_of_neurons_refuse_directions(whole: Path, capsys) -> None:
    for stage, main in (("2", poc2_analyze_run.main), ("3", poc3_intervene.main)):
        for more in ([], ["--mode", "write_scores"] if stage == "2" else ["--mode", "steer"]):
            assert main(["--run_dir", str(whole), *more]) == 2
            assert f"stage {stage} needs neurons, and the units of this run are" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ([], "holds several sets of directions: pca at mlp, random at res. Choose one with --site and --source"),
        (["--site", "att"], "none is the one asked for"),
        (["--site", "res", "--layer_indices", "0", "1"], "layer 1 has no directions: layers 0, 2 have"),
        (["--site", "res", "--neurons", "L0N6"], "there is no such direction: the model has 3 layers of 6 directions"),
    ],
)
def test_faults_write_nothing(
    more: list[str], what: str, corpus: Path, directions: Path, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "run"
    assert extract(*flags(corpus, path, "--directions", str(directions), *more)) == 2
    assert what in capsys.readouterr().err and not path.exists()


def test_flags_that_contradict_each_other(whole: Path, corpus: Path, directions: Path, tmp_path: Path, capsys) -> None:
    assert extract("--run_dir", str(whole), "--directions", str(directions)) == 2
    assert "the units of a run are fixed when it is made" in capsys.readouterr().err
    assert extract(*flags(corpus, tmp_path / "run", "--site", "res")) == 2
    assert "--site chooses directions of a file" in capsys.readouterr().err
    wide = directions_file(tmp_path / "wide.safetensors", width=D_MODEL + 1)
    assert extract(*flags(corpus, tmp_path / "run", "--directions", str(wide))) == 2
    assert "has width 33, but res of the model has 32" in capsys.readouterr().err


def test_a_damaged_copy_is_reported(whole: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    raw = bytearray((path / "directions.safetensors").read_bytes())
    raw[-1] ^= 1
    (path / "directions.safetensors").write_bytes(raw)
    assert runs_main(["verify", str(path)]) == 3
    assert "directions.safetensors: the sha256 differs from the manifest" in capsys.readouterr().out
    (path / "directions.safetensors").unlink()
    assert extract("--run_dir", str(path), "--resume", "--quiet") == 3


def test_a_run_of_neurons_has_no_new_field(corpus: Path, tmp_path: Path) -> None:
    assert extract(*flags(corpus, tmp_path / "run", "--index_only")) == 0
    assert "units" not in json.loads((tmp_path / "run" / MANIFEST).read_text())
