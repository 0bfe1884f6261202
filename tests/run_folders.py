"""Small run folders in both formats, made without a model."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from neuron_signatures.runs.manifest import Manifest, PromptRecord
from neuron_signatures.runs.names import activation_file
from neuron_signatures.runs.shards import plan_shards
from neuron_signatures.runs.writer import PromptOutcome, open_writer

N_LAYERS, D_MLP = 3, 5
LENGTHS = {"first": 4, "second": 1, "third": 7}
TORCH = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def acts_of(lengths: dict[str, int] = LENGTHS, dtype: str = "bf16", seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {k: torch.randn(N_LAYERS, n, D_MLP, generator=generator).to(TORCH[dtype]) for k, n in lengths.items()}


def write_run(
    run_dir: Path,
    acts: dict[str, torch.Tensor] | None = None,
    *,
    dtype: str = "bf16",
    shard_bytes: int = 10**9,
    save_format: str = "safetensors",
) -> Path:
    """A complete format-2 run with these activations."""
    acts = acts_of(dtype=dtype) if acts is None else acts
    ids = list(acts)
    shards = plan_shards([t.numel() * t.element_size() for t in acts.values()], shard_bytes)
    names = [activation_file(n, len(shards), save_format) for n in range(len(shards))]
    with open_writer(run_dir, "new", settings={"seed": 0}, facts={}) as writer:
        for n, members in enumerate(shards):
            part = {ids[i]: acts[ids[i]] for i in members}
            writer.write_shard(n, names[n], part, [PromptOutcome(prompt_id=k, nonfinite=0) for k in part], 0.1)
        file_of = {ids[i]: names[n] for n, members in enumerate(shards) for i in members}
        files = [r.file for r in writer.done.values() if r.file]
        writer.finish(manifest_of(acts, dtype, file_of, files))
    return run_dir


def manifest_of(acts, dtype, file_of, files) -> Manifest:
    return Manifest(
        format_version=2, created_at_utc="2026-01-02T03:04:05+00:00", stage="poc1_dump_activations",
        n_prompts=len(acts), n_tokens=sum(t.shape[1] for t in acts.values()), n_layers=N_LAYERS,
        layers=list(range(N_LAYERS)), d_mlp=D_MLP, hook_name="blocks.{layer}.mlp.hook_post", model_name="toy",
        model_revision=None, weights_fingerprint=None, architecture="Toy", tokenizer_sha256="0" * 64,
        attn_implementation="eager", quantization="none", trust_remote_code=False, run_device="cpu",
        device_name="cpu", model_dtype="fp32", save_dtype=dtype, prepend_bos=True, bos_token_id=0,
        bos_policy="prepended", seed=0, activations_file=next(iter(file_of.values())), files=files, versions={},
        git_revision=None, flags_given=[], flags_resolved={}, wall_seconds=0.5, host="test", failed_prompts=[],
        prompts=[prompt_of(k, t, dtype, file_of[k]) for k, t in acts.items()],
    )  # fmt: skip


def prompt_of(key: str, acts: torch.Tensor, dtype: str, file: str) -> PromptRecord:
    n = acts.shape[1]
    return PromptRecord(
        probe_id=key, text="x " * n, token_ids=list(range(n)), tokens=[" x"] * n, tokens_ascii=[" x"] * n, seq_len=n,
        activation_tensor_key=key, activation_tensor_shape=list(acts.shape), activation_tensor_dtype=dtype,
        file=file, nonfinite=0, truncated_from=None, metadata={},
    )  # fmt: skip


def write_v1(run_dir: Path, acts: dict[str, torch.Tensor] | None = None, dtype: str = "bf16", **changes) -> Path:
    """A run of format 1: a manifest and one pickled dict."""
    acts = acts_of(dtype=dtype) if acts is None else acts
    run_dir.mkdir(parents=True)
    torch.save(acts, run_dir / "activations.pt")
    record = {
        "format_version": 1,
        "created_at_utc": "2025-01-01T00:00:00Z",
        "model_name": "google/gemma-2-2b",
        "hook_name": "mlp.hook_post",
        "n_layers": N_LAYERS,
        "d_mlp": D_MLP,
        "run_device": "cuda",
        "model_dtype": dtype,
        "save_dtype": dtype,
        "prepend_bos": True,
        "prompts": [
            {
                "probe_id": k,
                "text": "x " * t.shape[1],
                "token_ids": list(range(t.shape[1])),
                "tokens_ascii": [" x"] * t.shape[1],
                "seq_len": t.shape[1],
                "activation_tensor_key": k,
                "activation_tensor_shape": list(t.shape),
                "activation_tensor_dtype": dtype,
            }
            for k, t in acts.items()
        ],
        "activations_file": "activations.pt",
        **changes,
    }
    (run_dir / "manifest.json").write_text(json.dumps(record, indent=2))
    return run_dir
