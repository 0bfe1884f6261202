"""Model facts from config and modules; the catalogue agrees with the published configs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from tiny_models import ARCHITECTURES, CONTEXT, D_MODEL, N_LAYERS, SLIDING_WINDOW, VOCAB, tiny_model_dir
from transformers import AutoConfig

from neuron_signatures.models.__main__ import main
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.models.catalog import SUGGESTIONS, VERIFIED
from neuron_signatures.models.info import ModelInfo, model_info, weights_bytes
from neuron_signatures.models.load import ModelSpec, load_model

# Dimensions of published configs; the catalogue's counts are computed from them.
PUBLISHED: dict[str, dict[str, Any]] = {
    "openai-community/gpt2": {"model_type": "gpt2"},
    "google/gemma-2b": {
        "model_type": "gemma", "vocab_size": 256000, "hidden_size": 2048, "num_hidden_layers": 18,
        "num_attention_heads": 8, "num_key_value_heads": 1, "intermediate_size": 16384, "head_dim": 256,
    },
    "google/gemma-7b": {
        "model_type": "gemma", "vocab_size": 256000, "hidden_size": 3072, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 24576, "head_dim": 256,
    },
    "google/gemma-2-2b": {
        "model_type": "gemma2", "vocab_size": 256000, "hidden_size": 2304, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 9216, "head_dim": 256,
    },
    "google/gemma-3-1b-pt": {
        "model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152, "num_hidden_layers": 26,
        "num_attention_heads": 4, "num_key_value_heads": 1, "intermediate_size": 6912, "head_dim": 256,
    },
    "google/gemma-3-4b-pt": {
        "model_type": "gemma3_text", "vocab_size": 262208, "hidden_size": 2560, "num_hidden_layers": 34,
        "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 10240, "head_dim": 256,
    },
    "meta-llama/Llama-3.2-1B": {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 8192,
        "tie_word_embeddings": True,
    },
    "smollm2": {
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536, "tie_word_embeddings": True,
    },
    "meta-llama/Llama-2-7b-hf": {
        "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "intermediate_size": 11008,
    },
    "meta-llama/Llama-2-13b-hf": {
        "model_type": "llama", "vocab_size": 32000, "hidden_size": 5120, "num_hidden_layers": 40,
        "num_attention_heads": 40, "num_key_value_heads": 40, "intermediate_size": 13824,
    },
    "Qwen/Qwen1.5-1.8B": {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 2048, "num_hidden_layers": 24,
        "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 5504,
    },
    "Qwen/Qwen2.5-0.5B": {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864,
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen3-0.6B-Base": {
        "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 3072, "head_dim": 128,
        "tie_word_embeddings": True,
    },
    "mistralai/Mistral-7B-v0.1": {
        "model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
    },
    "microsoft/phi-2": {
        "model_type": "phi", "vocab_size": 51200, "hidden_size": 2560, "num_hidden_layers": 32,
        "num_attention_heads": 32, "intermediate_size": 10240,
    },
    "microsoft/Phi-3-mini-4k-instruct": {
        "model_type": "phi3", "vocab_size": 32064, "hidden_size": 3072, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "intermediate_size": 8192,
    },
    "EleutherAI/pythia-410m": {
        "model_type": "gpt_neox", "vocab_size": 50304, "hidden_size": 1024, "num_hidden_layers": 24,
        "num_attention_heads": 16, "intermediate_size": 4096,
    },
    "facebook/opt-1.3b": {
        "model_type": "opt", "vocab_size": 50272, "hidden_size": 2048, "num_hidden_layers": 24,
        "num_attention_heads": 32, "ffn_dim": 8192, "word_embed_proj_dim": 2048,
    },
}  # fmt: skip

PLACEMENT = {"gemma2": "sandwich", "gemma3": "sandwich", "phi": "parallel", "gpt_neox": "parallel"}
RMS_NORM = ("gemma", "gemma2", "gemma3", "llama", "qwen2", "qwen3", "mistral", "phi3")


def info_of(name: str) -> ModelInfo:
    return model_info(ModelSpec(str(tiny_model_dir(name))))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_info_agrees_with_the_loaded_model(name: str) -> None:
    info = info_of(name)
    hf = load_model(ModelSpec(str(tiny_model_dir(name)), dtype="fp32", device="cpu")).hf
    assert (info.layers, info.d_mlp) == mlp_shape(hf) and info.neurons == info.layers * info.d_mlp
    assert info.parameters == sum(p.numel() for p in hf.parameters())
    assert info.architecture == type(hf).__name__
    assert info.tied_embeddings == (hf.get_output_embeddings().weight is hf.get_input_embeddings().weight)
    assert (info.layers, info.d_model, info.vocab, info.context) == (N_LAYERS, D_MODEL, VOCAB, CONTEXT)
    assert (info.checkpoint_dtype, info.revision) == ("fp32", None)
    assert info.norm == ("RMSNorm" if name in RMS_NORM else "LayerNorm")
    assert info.norm_placement == PLACEMENT.get(name, "pre")
    assert weights_bytes(info, "fp32") == sum(p.numel() * p.element_size() for p in hf.parameters())


def test_differences_between_architectures() -> None:
    gemma2, gemma3, mistral, opt = (info_of(n) for n in ("gemma2", "gemma3", "mistral", "opt"))
    assert (gemma2.attn_soft_cap, gemma2.final_soft_cap) == (50.0, 30.0)
    assert (gemma3.attn_soft_cap, gemma3.final_soft_cap) == (None, None)
    assert (gemma3.sliding_window, gemma3.sliding_layers) == (SLIDING_WINDOW, 2)
    assert (mistral.sliding_window, mistral.sliding_layers) == (SLIDING_WINDOW, N_LAYERS)
    assert (opt.sliding_window, opt.sliding_layers) == (None, 0)
    assert opt.d_mlp != 4 * opt.d_model
    assert (gemma2.heads, gemma2.kv_heads, opt.kv_heads) == (4, 2, 4)


def test_only_linear_weights_are_smaller_when_quantised() -> None:
    info = info_of("llama")
    per_layer = 2 * D_MODEL * D_MODEL + 2 * D_MODEL * D_MODEL // 2 + 3 * D_MODEL * info.d_mlp
    assert info.linear_parameters == N_LAYERS * per_layer
    assert weights_bytes(info, "bf16", "8bit") == weights_bytes(info, "bf16") - info.linear_parameters
    assert weights_bytes(info, "bf16", "4bit") < weights_bytes(info, "bf16", "8bit")


@pytest.mark.parametrize("name", PUBLISHED)
def test_catalogue_counts_follow_from_the_published_dimensions(name: str) -> None:
    suggestion = next(s for s in SUGGESTIONS if s.model_name == name)
    hub_id = "HuggingFaceTB/SmolLM2-135M-Instruct" if name == "smollm2" else name  # the package may be absent
    info = model_info(ModelSpec(hub_id), AutoConfig.for_model(**PUBLISHED[name]))
    assert (info.layers, info.d_mlp, info.parameters) == (
        suggestion.layers, suggestion.d_mlp, suggestion.parameters
    )  # fmt: skip


def test_catalogue_is_consistent() -> None:
    types = {a.model_type for a in VERIFIED}
    assert {s.model_type for s in SUGGESTIONS} == types
    assert {n if n != "gemma3" else "gemma3_text" for n in ARCHITECTURES} | {"gemma3"} == types
    names = [s.model_name for s in SUGGESTIONS]
    assert len(names) == len(set(names)) and "google/gemma-2-2b" in names


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert all(s.model_name in out for s in SUGGESTIONS) and all(a.hf_class in out for a in VERIFIED)
    assert main(["--list", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    gemma = next(m for m in record["models"] if m["model_name"] == "google/gemma-2-2b")
    assert (gemma["neurons"], gemma["bytes_bf16"]) == (26 * 9216, 2 * 2_614_341_888)


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tiny_model_dir("gemma2"))
    assert main(["--info", folder]) == 0
    out = capsys.readouterr().out
    assert all(len(line) <= 100 or folder in line for line in out.splitlines())
    for line in ("neurons           264", "soft caps         attention 50, final 30", "tied embeddings   yes"):
        assert line in out
    assert main(["--info", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights_bytes"]["fp32"] == 4 * info_of("gemma2").parameters


def test_mistakes_give_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, code, message in (
        ([], 2, "--list --info is required"),
        (["--info", "./nowhere"], 2, "does not exist"),
        (["--info", str(tiny_model_dir("mixtral"))], 2, "mixture of experts"),
        (["--info", "nobody/nothing"], 1, "HF_HUB_OFFLINE is set"),
    ):
        assert main(argv) == code
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith("error: ") and message in captured.err
        assert captured.err.count("\n") == 1


def test_help_and_list_import_nothing_heavy() -> None:
    code = (
        "import sys; from neuron_signatures.models.__main__ import main; main(['--list']);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'huggingface_hub', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
