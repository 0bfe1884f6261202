"""An analysis runs only on the model that made the run."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from run_folders import write_v1
from safetensors.torch import load_file, save_file
from tiny_models import D_MLP, N_LAYERS, VOCAB, tiny_model_dir

from neuron_signatures.models.load import load_tokenizer
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides, check_prompt
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.poc1_dump_activations import main
from neuron_signatures.runs.errors import BadRunError, ExitCode
from neuron_signatures.runs.run import Run

TEXTS = {"seed": "the capital of Dallas", "twin": "the capital of Austin", "long": "Austin is in the capital of an"}
CPU = ModelOverrides(device="cpu")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder that the test may change."""
    return Path(shutil.copytree(tiny_model_dir("gemma2"), tmp_path / "model"))


def dump(tmp_path: Path, model: Path, *flags: str) -> Run:
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps([{"id": k, "text": v} for k, v in TEXTS.items()]))
    given = ["--model_name", str(model), "--prompts_json", str(prompts), "--device", "cpu", "--quiet"]
    dtype = [] if "--model_dtype" in flags else ["--model_dtype", "fp32"]
    assert main([*given, *dtype, "--out_dir", str(tmp_path / "run"), *flags]) == 0
    return Run.open(tmp_path / "run")


def refused(run: Run, overrides: ModelOverrides = CPU) -> str:
    with pytest.raises(BadRunError) as caught:
        check_prompt(run, "seed", overrides)
    assert caught.value.exit_code == ExitCode.BAD_RUN and str(run.path) in caught.value.line()
    return caught.value.what


def edit_manifest(run: Run, **changes: object) -> Run:
    path = run.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return Run.open(run.path)


def other_weights(model: Path, factor: float) -> None:
    weights = load_file(model / "model.safetensors")
    save_file({k: v * factor for k, v in weights.items()}, model / "model.safetensors", {"format": "pt"})


def test_the_models_activations_agree_with_the_run(tmp_path: Path, model: Path) -> None:
    run = dump(tmp_path, model, "--save_dtype", "fp32")
    checked = check_prompt(run, "seed", CPU)
    assert checked.model.spec.dtype == "fp32" and checked.warnings == ()
    assert checked.prompt.token_ids == run.prompt("seed").token_ids
    assert checked.acts.shape == (N_LAYERS, len(checked.prompt.token_ids), D_MLP)
    assert checked.agreement.worst < 1e-6 and checked.agreement.layers == tuple(range(N_LAYERS))
    assert torch.allclose(checked.acts, torch.from_numpy(run.acts("seed")), atol=1e-5)


@pytest.mark.parametrize("then", ["fp32", "bf16"])
@pytest.mark.parametrize("now", [None, "fp32", "bf16", "fp16"])
def test_other_precisions_are_within_the_tolerance(tmp_path: Path, model: Path, then: str, now: str | None) -> None:
    run = dump(tmp_path, model, "--model_dtype", then, "--save_dtype", "bf16")
    checked = check_prompt(run, 0, ModelOverrides(device="cpu", dtype=now))  # type: ignore[arg-type]
    assert checked.model.spec.dtype == (now or then)
    assert checked.agreement.worst < checked.agreement.tolerance / 2
    assert checked.agreement.worst > 1e-4 or then == checked.model.spec.dtype == "bf16"


def test_some_layers_are_enough(tmp_path: Path, model: Path) -> None:
    checked = check_prompt(dump(tmp_path, model, "--layers", "1"), "seed", CPU)
    assert checked.agreement.layers == (1,) and checked.acts.shape[0] == N_LAYERS


def test_other_weights_are_refused_before_loading(tmp_path: Path, model: Path) -> None:
    run = dump(tmp_path, model)
    other_weights(model, 1.001)
    assert "weights_fingerprint is bytes:" in refused(run)


def test_a_folder_that_moved_is_the_same_model(tmp_path: Path, model: Path) -> None:
    run = dump(tmp_path, model)
    moved = model.rename(tmp_path / "elsewhere")
    checked = check_prompt(run, "seed", ModelOverrides(name=str(moved), device="cpu"))
    assert checked.model.spec.name == str(moved)


def test_another_architecture_is_refused(tmp_path: Path, model: Path) -> None:
    run = dump(tmp_path, model)
    what = refused(run, ModelOverrides(name=str(tiny_model_dir("llama")), device="cpu"))
    assert "architecture is LlamaForCausalLM, the run says Gemma2ForCausalLM" in what


def test_another_tokenizer_is_refused(tmp_path: Path, model: Path) -> None:
    run = dump(tmp_path, model)
    tokenizer = load_tokenizer(ModelSpec(str(model)))
    tokenizer.add_tokens(["zebra"])
    tokenizer.save_pretrained(model)
    what = refused(run)
    assert what.startswith("the model is not the one of the dump: tokenizer_sha256 is ") and "the run says" in what


@pytest.mark.parametrize("changes", [{"quantization": "checkpoint:gptq"}, {"weights_fingerprint": "bytes:" + "0" * 64}])
def test_a_model_that_differs_from_the_manifest_is_refused(
    tmp_path: Path, model: Path, changes: dict[str, str]
) -> None:
    run = edit_manifest(dump(tmp_path, model), **changes)
    assert next(iter(changes)) in refused(run)


def test_another_revision_is_refused(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = edit_manifest(dump(tmp_path, model), model_revision="a" * 40, weights_fingerprint=None)
    monkeypatch.setattr("neuron_signatures.models.identity.resolved_commit", lambda spec: "b" * 40)
    assert f"model_revision is {'b' * 40}, the run says {'a' * 40}" in refused(run)


def test_activations_of_another_text_are_refused(tmp_path: Path, model: Path) -> None:
    run = dump(tmp_path, model)
    path = run.path / "activations.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "seed": tensors["twin"].clone()}, path)
    run = edit_manifest(run, files=[])
    assert "recomputed activations of prompt seed differ from the stored ones by" in refused(run)


def test_nonfinite_values_are_excluded_from_the_comparison(tmp_path: Path, model: Path) -> None:
    run = dump(tmp_path, model)
    path = run.path / "activations.safetensors"
    tensors = load_file(path)
    tensors["seed"][0, 0, :3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    save_file(tensors, path)
    assert check_prompt(edit_manifest(run, files=[]), "seed", CPU).agreement.worst < 0.01


def as_format_1(tmp_path: Path, run: Run, **changes: object) -> Run:
    acts = {p.probe_id: run.tensor(p.probe_id) for p in run.prompts}
    prompts = [
        {k: getattr(p, k) for k in ("probe_id", "text", "token_ids", "tokens_ascii", "seq_len")}
        | {"activation_tensor_key": p.probe_id, "activation_tensor_shape": p.activation_tensor_shape}
        | {"activation_tensor_dtype": "bf16"}
        for p in run.prompts
    ]
    fields = {"model_name": run.manifest.model_name, "n_layers": N_LAYERS, "d_mlp": D_MLP, "model_dtype": "fp32"}
    return Run.open(write_v1(tmp_path / "v1", acts, **{**fields, "prompts": prompts, **changes}))


def test_format_1_is_checked_by_activations_only(tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = as_format_1(tmp_path, dump(tmp_path, model))
    with caplog.at_level(logging.WARNING):
        checked = check_prompt(run, "seed", CPU)
    assert len(checked.warnings) == 3 and all(w in caplog.text for w in checked.warnings)
    assert "only activations are compared" in checked.warnings[0]
    other_weights(model, 1.2)
    assert "recomputed activations of prompt seed differ" in refused(run)


def test_a_run_of_another_width_is_refused(tmp_path: Path, model: Path) -> None:
    run = as_format_1(tmp_path, dump(tmp_path, model), model_name=str(tiny_model_dir("opt")))
    assert refused(run) == f"the model has {N_LAYERS} layers of 72 neurons, the run has {N_LAYERS} of {D_MLP}"


def test_token_ids_outside_the_vocabulary_are_refused(tmp_path: Path, model: Path) -> None:
    run = dump(tmp_path, model)
    raw = json.loads((run.path / "manifest.json").read_text())
    raw["prompts"][0]["token_ids"][1] = VOCAB
    run = edit_manifest(run, prompts=raw["prompts"])
    assert f"token id {VOCAB}" in refused(run)
