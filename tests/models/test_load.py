"""Loading a model by name: a frozen model, or one error line with the next step."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tiny_models import N_LAYERS, build_model, build_tokenizer, tiny_model_dir
from transformers import AutoModelForCausalLM, modeling_utils

from neuron_signatures.models import hub
from neuron_signatures.models.capture import MlpCapture
from neuron_signatures.models.faults import quiet_libraries
from neuron_signatures.models.fingerprint import weights_fingerprint
from neuron_signatures.models.identity import model_identity
from neuron_signatures.models.load import (
    ModelSpec,
    find_device,
    load_config,
    load_model,
    load_tokenizer,
    to_bridge,
)
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError


def spec_of(name: str | Path, **changes: object) -> ModelSpec:
    return dataclasses.replace(ModelSpec(str(name), dtype="fp32", device="cpu"), **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A private copy of a tiny model's folder."""
    return Path(shutil.copytree(tiny_model_dir("llama"), tmp_path / "model"))


def test_model_is_frozen_in_eval_mode_and_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    model = load_model(spec_of(tiny_model_dir("gpt2")))
    assert not model.hf.training and not any(p.requires_grad for p in model.hf.parameters())
    assert model.device == torch.device("cpu") and model.attn_implementation == "sdpa"
    assert model.tokenizer.padding_side == "right"
    assert capfd.readouterr() == ("", "")


def test_weights_are_those_of_the_file() -> None:
    model = load_model(spec_of(tiny_model_dir("gemma2")))
    reference = build_model("gemma2")
    for (name, got), want in zip(model.hf.named_parameters(), reference.parameters(), strict=True):
        assert torch.equal(got, want), name


def test_gemma2_is_eager_because_of_its_soft_cap() -> None:
    assert load_model(spec_of(tiny_model_dir("gemma2"))).attn_implementation == "eager"


def test_dtype_is_as_requested() -> None:
    for dtype, want in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        assert load_model(spec_of(tiny_model_dir("llama"), dtype=dtype)).hf.dtype == want


def test_converted_weights_are_read_without_mapping_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a mapped file stay in memory beside the converted copies."""
    with quiet_libraries():
        build_model("gemma2").bfloat16().save_pretrained(tmp_path, max_shard_size="50kB")
    build_tokenizer("gemma2").save_pretrained(tmp_path)
    stored = {k: v for file in tmp_path.glob("*.safetensors") for k, v in safetensors.torch.load_file(file).items()}
    opened, ways = modeling_utils.safe_open, []

    def watch(*args: object, backend: str, **kwargs: object) -> object:
        ways.append(backend)
        return opened(*args, backend=backend, **kwargs)

    monkeypatch.setattr(modeling_utils, "safe_open", watch)
    for dtype, way in (("bf16", "mmap"), ("fp32", "pread"), ("bf16", "mmap")):
        model = load_model(spec_of(tmp_path, dtype=dtype))
        assert len(ways) > 1 and set(ways) == {way}
        ways.clear()
        for name, got in model.hf.named_parameters():
            assert torch.equal(got, stored[name].to(got.dtype)), name


def test_gemma3_with_a_vision_tower_is_its_text_model() -> None:
    folder = tiny_model_dir("gemma3_vision")
    spec = spec_of(folder)
    model = load_model(spec)
    assert type(model.hf).__name__ == "Gemma3ForCausalLM"
    with quiet_libraries():
        whole = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert type(whole).__name__ == "Gemma3ForConditionalGeneration"
    ids = torch.randint(5, 300, (1, 17), generator=torch.Generator().manual_seed(0))
    with MlpCapture(model.hf) as capture:
        text_acts = capture.run(ids)
    with MlpCapture(whole) as capture:
        whole_acts = capture.run(ids)
    assert all(torch.equal(a, b) for a, b in zip(text_acts, whole_acts, strict=True))
    assert to_bridge(model).cfg.n_layers == N_LAYERS
    identity = model_identity(spec, load_config(spec), load_tokenizer(spec))
    assert (identity.architecture, identity.model_type) == ("Gemma3ForCausalLM", "gemma3_text")


def test_bridge_makes_the_model_eager_and_leaves_the_tokenizer_alone() -> None:
    model = load_model(spec_of(tiny_model_dir("qwen2")))
    bridge = to_bridge(model)
    assert model.attn_implementation == "eager"
    assert model.tokenizer.bos_token is None and bridge.tokenizer.bos_token is not None
    assert not bridge.training and not any(p.requires_grad for p in bridge.parameters())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "does not exist"),
        ("a/b/c", "does not exist"),
        ("~/nowhere/at/all", "does not exist"),
        ("two words", "neither a folder nor a Hugging Face id"),
        ("", "neither a folder nor a Hugging Face id"),
    ],
)
def test_a_name_that_is_neither_folder_nor_id_is_a_usage_error(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_config(ModelSpec(name))


def test_a_folder_without_a_valid_config_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.json"):
        load_config(ModelSpec(str(tmp_path)))
    with pytest.raises(UsageError, match="is a file"):
        load_config(ModelSpec(str(folder / "config.json")))
    (folder / "config.json").write_text("{")
    with pytest.raises(EnvironmentProblem, match=r"cannot be loaded: .*Check that the folder is complete"):
        load_config(ModelSpec(str(folder)))
    (folder / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(UsageError, match="not a causal language model known to transformers"):
        load_config(ModelSpec(str(folder)))


def test_a_folder_takes_precedence_over_an_id_of_the_same_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert hub.find_source(ModelSpec("model")).is_local


def test_a_missing_weight_is_refused_not_invented(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = safetensors.torch.load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    safetensors.torch.save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(EnvironmentProblem, match=r"lacks 1 weights .*layers\.1\.mlp\.up_proj\.weight"):
        load_model(spec_of(folder))


def test_weights_of_another_shape_or_truncated_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    with pytest.raises(EnvironmentProblem, match="cannot be loaded"):
        load_model(spec_of(folder))
    (folder / "config.json").write_text(json.dumps(config))
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(EnvironmentProblem, match="cannot be loaded"):
        load_model(spec_of(folder))
    file.unlink()
    with pytest.raises(EnvironmentProblem, match="cannot be loaded"):
        load_model(spec_of(folder))


def test_remote_code_runs_only_when_trusted(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(
        "from transformers import LlamaConfig\nfrom pathlib import Path\n"
        f"Path({str(folder / 'it-ran')!r}).touch()\nclass OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
    )
    with pytest.raises(UsageError, match=r"runs code from its repository.*--trust_remote_code"):
        load_config(ModelSpec(str(folder)))
    assert not (folder / "it-ran").exists()
    assert load_config(ModelSpec(str(folder), trust_remote_code=True)).model_type == "own"
    assert (folder / "it-ran").exists()


def test_unavailable_devices_are_refused() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type in ("cuda", "mps", "cpu")
    for name in ("gpu", "xpu", "meta", "cuda:x"):
        with pytest.raises(UsageError, match="use auto, cuda, cuda:N, mps or cpu"):
            find_device(name)
    with pytest.raises(EnvironmentProblem, match="CUDA devices here"):
        find_device("cuda:99")


@pytest.mark.skipif(torch.cuda.is_available(), reason="bitsandbytes may be installed where there is a GPU")
def test_quantisation_needs_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="pip install bitsandbytes"):
        load_model(spec_of(tiny_model_dir("llama"), quantization="4bit"))


@pytest.mark.parametrize(("quantization", "error"), [("8bit", 0.1), ("4bit", 0.6)])
def test_quantised_activations_are_close_to_float32(tmp_path: Path, quantization: str, error: float) -> None:
    """Random weights quantise badly, so the bounds are wide; this checks shapes and dtypes."""
    pytest.importorskip("bitsandbytes")
    reference = build_model("llama", hidden_size=128, intermediate_size=256, head_dim=32)
    with quiet_libraries():
        reference.save_pretrained(tmp_path)
    build_tokenizer("llama").save_pretrained(tmp_path)
    spec = spec_of(tmp_path, quantization=quantization)
    model = load_model(spec)
    ids = torch.tensor([[5, 6, 7, 8]])
    with MlpCapture(model.hf) as quantised, MlpCapture(reference) as full:
        got, want = quantised.run(ids)[-1], full.run(ids)[-1]
    assert got.shape == want.shape == (1, 4, 256) and got.dtype == torch.float32
    assert 0 < (got - want).norm() / want.norm() < error
    assert model_identity(spec, model.config, model.tokenizer).quantization == quantization


def test_device_map() -> None:
    model = load_model(spec_of(tiny_model_dir("llama"), device_map="auto"))
    assert model.device.type in ("cpu", "cuda")
    with pytest.raises(UsageError, match="not one of auto, balanced"):
        load_model(spec_of(tiny_model_dir("llama"), device_map="all"))


def test_quiet_libraries_restores_the_log_level() -> None:
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    with pytest.raises(KeyError), quiet_libraries():
        assert logger.level == logging.ERROR
        raise KeyError
    assert logger.level == level


# Identity


def test_identity_of_a_folder() -> None:
    spec = spec_of(tiny_model_dir("llama"))
    model = load_model(spec)
    loaded = model_identity(spec, model.config, model.tokenizer)
    assert model_identity(spec, load_config(spec), load_tokenizer(spec)) == loaded
    assert loaded.revision is None and loaded.weights_fingerprint is not None
    assert loaded.weights_fingerprint.startswith("bytes:")
    assert (loaded.architecture, loaded.model_type) == ("LlamaForCausalLM", "llama")
    assert (model.attn_implementation, loaded.quantization) == ("sdpa", "none")


@pytest.mark.parametrize("full_hash_bytes", [10**9, 0])
def test_fingerprint_follows_the_weights(folder: Path, full_hash_bytes: int) -> None:
    before = weights_fingerprint(folder, full_hash_bytes=full_hash_bytes)
    assert before.startswith("bytes:" if full_hash_bytes else "sampled:")
    assert weights_fingerprint(folder, full_hash_bytes=full_hash_bytes) == before
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert weights_fingerprint(folder, full_hash_bytes=full_hash_bytes) != before
