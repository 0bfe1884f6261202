"""Runs that requests name: confined, of the same model, large enough, and read again when they change."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from attribution_cases import loaded
from intervention_runs import demo_run
from live_cases import DALLAS_ID, held, held_with_runs, never, record_run
from paths import DEMO_RUN

from neuron_signatures.analysis.attribution.reference import run_mean
from neuron_signatures.analysis.attribution.run_moments import run_moments
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.server.held import Held
from neuron_signatures.server.live import references
from neuron_signatures.server.live.references import moments_of, named_mean

LAYERS = range(5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    demo_run(folder)
    record_run(folder / "recorded")
    return folder


@pytest.fixture
def root(made, tmp_path):
    shutil.copytree(made, tmp_path / "runs")
    return tmp_path / "runs"


def mean(here: Held, text: str):
    return named_mean(here, text, never, where="reference").mean


def edit_manifest(folder, **fields) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_moments_of_a_run_are_those_of_its_tokens_without_first_positions(made):
    with Run.open(made / "run") as run:
        found = run_moments(run)
        every = np.concatenate([run.acts(p)[:, 1:] for p in run.prompts], 1).astype(np.float64)
        assert found.n_tokens == every.shape[1] == 219 and found.layers == list(LAYERS)
        np.testing.assert_allclose(found.mean, every.mean(1), atol=1e-9)
        np.testing.assert_allclose(found.std, every.std(1), rtol=1e-7)
        np.testing.assert_allclose(found.mean, run_mean(run).values.numpy(), rtol=1e-5, atol=1e-6)


def test_moments_leave_out_what_is_not_finite(made, monkeypatch):
    """One value of a neuron, a neuron in a whole prompt, and a neuron everywhere."""
    whole = Run.acts

    def broken(run: Run, prompt):
        acts = whole(run, prompt).copy()
        acts[0, 2, 5] = np.inf
        acts[1, :, 7] = np.nan if prompt.probe_id == DALLAS_ID else acts[1, :, 7]
        acts[2, :, 9] = np.nan
        return acts

    monkeypatch.setattr(Run, "acts", broken)
    with Run.open(made / "run") as run:
        found = run_moments(run)
        every = np.concatenate([run.acts(p)[:, 1:] for p in run.prompts], 1).astype(np.float64)
    every[~np.isfinite(every)] = np.nan
    for layer, neuron in ((0, 5), (1, 7), (3, 508)):
        assert found.mean[layer, neuron] == pytest.approx(np.nanmean(every[layer, :, neuron]))
        assert found.std[layer, neuron] == pytest.approx(np.nanstd(every[layer, :, neuron]))
    assert np.isnan(found.mean[2, 9]) and np.isnan(found.std[2, 9])


def test_a_name_may_be_given_with_or_without_its_kind(root):
    here = held_with_runs(root)
    assert named_mean(here, "run", never, where="x").name == "run:run"
    assert mean(here, "run") is mean(here, "run:run")
    assert named_mean(here, "records:recorded", never, where="x").mean.n_tokens > 1000


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("run:..", "reference: '..' is not the name of a run. GET /v1/runs lists them"),
        ("run:../runs/run", "is not the name of a run"),
        ("/etc", "is not the name of a run"),
        ("run:nowhere", "reference: there is no run 'nowhere'. GET"),
        ("run:link", "run 'link' is a link to a path outside the runs root"),
        ("run:", "'run:' is not run:NAME or records:NAME"),
        ("mean:run", "'mean:run' is not run:NAME"),
        ("records:run", "reference: run run: the run has no records of a corpus. Use another run"),
        ("run:recorded", "run recorded has 8 tokens for a mean, which needs 64. Use a larger run"),
    ],
)
def test_what_is_refused(root, tmp_path, text, what):
    shutil.copytree(root / "run", tmp_path / "elsewhere")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError) as e:
        mean(held_with_runs(root), text)
    assert what in e.value.line() and str(tmp_path) not in e.value.line()


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"weights_fingerprint": "bytes:0"}, "weights_fingerprint is bytes:"),
        ({"tokenizer_sha256": "0" * 64}, "tokenizer_sha256 is "),
        ({"quantization": "4bit"}, "quantization is none, the run says 4bit"),
    ],
)
def test_a_run_of_another_model_is_refused(root, fields, what):
    edit_manifest(root / "run", **fields)
    with pytest.raises(UsageError, match="reference: run run is of another model: ") as e:
        mean(held_with_runs(root), "run:run")
    assert what in e.value.line() and "load the run's model" in e.value.line()


def test_a_run_of_another_shape_is_refused(root):
    """The committed run is of the demo model; the model here is another one."""
    shutil.copytree(DEMO_RUN, root / "small")
    other = loaded("gemma2")
    here = Held(LoadedModel(other.hf, other.tokenizer, other.spec, other.device), held("gemma2").facts, root, 60)
    with pytest.raises(UsageError, match="it has 3 layers of 88 neurons, the run 5 of 512"):
        edit_manifest(root / "small", weights_fingerprint=None, tokenizer_sha256=None, architecture="Gemma2ForCausalLM")
        mean(here, "run:small")


def test_a_run_that_does_not_say_its_model_is_checked_by_its_activations(root):
    edit_manifest(root / "run", weights_fingerprint=None)
    assert mean(held_with_runs(root), "run:run").n_tokens == 219
    hf = loaded("demo").hf
    weight = hf.model.layers[0].mlp.up_proj.weight
    before = weight.detach().clone()
    weight.data *= 1.5
    try:
        with pytest.raises(UsageError, match="run run is of another model: recomputed activations of prompt"):
            mean(held_with_runs(root), "run:run")
    finally:
        weight.data.copy_(before)


def test_means_are_kept_until_the_run_changes(root, monkeypatch):
    here, calls = held_with_runs(root), []
    monkeypatch.setattr(references, "run_mean", lambda run, **_: calls.append(1) or run_mean(run))
    assert mean(here, "run:run") is mean(here, "run:run") and len(calls) == 1
    edit_manifest(root / "run")  # written again
    assert mean(here, "run:run").n_tokens == 219 and len(calls) == 2
    for i in range(6):
        shutil.copytree(root / "run", root / f"run{i}")
        mean(here, f"run:run{i}")
    assert len(here.kept) == 4
    mean(here, "run:run")
    assert len(calls) == 9


def test_moments_of_layers_without_records_are_undefined(root):
    found = moments_of(held_with_runs(root), "recorded", [1, 3], never, where="x")
    assert bool(found.std[[1, 3]].isfinite().any()) and bool(found.std[[0, 2, 4]].isnan().all())
    few = moments_of(held_with_runs(root), "run", [1], never, where="x")
    assert bool(few.std.isfinite().all())


def test_a_standard_deviation_needs_tokens_too(root):
    shutil.rmtree(root / "recorded" / "records")
    with pytest.raises(UsageError, match="run recorded has 8 tokens, too few for a standard deviation"):
        moments_of(held_with_runs(root), "recorded", LAYERS, never, where="against_run")


@pytest.mark.parametrize("file", ["manifest.json", "activations.safetensors"])
def test_a_damaged_run_is_named_without_its_path(root, file):
    here = held_with_runs(root)
    (root / "run" / file).write_bytes(b"[")
    for read in (lambda: mean(here, "run:run"), lambda: moments_of(here, "run", LAYERS, never, where="against_run")):
        with pytest.raises(BadRunError) as e:
            read()
        assert e.value.where is not None and e.value.where.startswith("run") and str(root) not in e.value.line()


def test_damaged_records_are_named_without_their_path(root):
    here = held_with_runs(root)
    (root / "recorded" / "records" / "records_meta.json").write_bytes(b"[")
    for read in (
        lambda: mean(here, "records:recorded"),
        lambda: moments_of(here, "recorded", LAYERS, never, where="against_run"),
    ):
        with pytest.raises(BadRunError) as e:
            read()
        assert str(root) not in e.value.line()
