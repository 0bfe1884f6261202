"""Small runs with given tokens and concepts, for tests of the analysis without a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from neuron_signatures.runs.manifest import Manifest, PromptRecord
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import ascii_token
from neuron_signatures.runs.writer import PromptOutcome, open_writer

TORCH = {"bf16": torch.bfloat16, "fp32": torch.float32}
BOS = "<bos>"


def token_ids(prompts: dict[str, list[str]]) -> dict[str, int]:
    """An id for each token of the prompts, in order of appearance; the BOS is 0."""
    ids = {BOS: 0}
    for tokens in prompts.values():
        for token in tokens:
            ids.setdefault(token, len(ids))
    return ids


def random_acts(
    prompts: dict[str, list[str]], *, n_layers: int, d_mlp: int, seed: int = 0, ties: bool = False
) -> dict[str, np.ndarray]:
    """Normal activations; with `ties` rounded to halves, so that values repeat and zeros of either sign occur."""
    rng = np.random.default_rng(seed)
    acts = {k: rng.standard_normal((n_layers, len(t), d_mlp)).astype(np.float32) for k, t in prompts.items()}
    return {k: np.round(a * 2) / 2 if ties else a for k, a in acts.items()}


def make_run(
    path: Path,
    prompts: dict[str, list[str]],
    acts: dict[str, np.ndarray],
    *,
    dtype: str = "fp32",
    metadata: dict[str, dict] | None = None,
    layers: list[int] | None = None,
    n_layers: int | None = None,
    bos_token_id: int | None = 0,
    model_name: str = "toy",
) -> Run:
    """A format-2 run of these prompts (id to raw tokens) and activations `[layer, pos, neuron]`."""
    ids = token_ids(prompts)
    tensors = {k: torch.from_numpy(a.copy()).to(TORCH[dtype]) for k, a in acts.items()}
    rows, _, d_mlp = next(iter(acts.values())).shape
    layers = list(range(rows)) if layers is None else layers
    with open_writer(path, "new", settings={}, facts={}) as writer:
        outcomes = [PromptOutcome(prompt_id=k, nonfinite=int((~np.isfinite(a)).sum())) for k, a in acts.items()]
        writer.write_shard(0, "activations.safetensors", tensors, outcomes, 0.1)
        records = [
            PromptRecord(
                probe_id=k, text="".join(t for t in tokens if t != BOS), token_ids=[ids[t] for t in tokens],
                tokens=tokens, tokens_ascii=[ascii_token(t) for t in tokens], seq_len=len(tokens),
                activation_tensor_key=k, activation_tensor_shape=list(acts[k].shape), activation_tensor_dtype=dtype,
                file="activations.safetensors", nonfinite=int((~np.isfinite(acts[k])).sum()), truncated_from=None,
                metadata=(metadata or {}).get(k, {}),
            )
            for k, tokens in prompts.items()
        ]  # fmt: skip
        writer.finish(
            _manifest(records, layers, n_layers or layers[-1] + 1, d_mlp, dtype, bos_token_id, writer, model_name)
        )
    return Run.open(path)


def make_v1_run(
    path: Path, prompts: dict[str, list[str]], acts: dict[str, np.ndarray], *, prepend_bos: bool = True
) -> Run:
    """The same run in format 1."""
    ids = token_ids(prompts)
    path.mkdir(parents=True)
    torch.save({k: torch.from_numpy(a.copy()) for k, a in acts.items()}, path / "activations.pt")
    n_layers, _, d_mlp = next(iter(acts.values())).shape
    record = {
        "format_version": 1, "created_at_utc": "2025-01-01T00:00:00Z", "model_name": "toy",
        "hook_name": "mlp.hook_post", "n_layers": n_layers, "d_mlp": d_mlp, "run_device": "cpu",
        "model_dtype": "fp32", "save_dtype": "fp32", "prepend_bos": prepend_bos, "activations_file": "activations.pt",
        "prompts": [
            {
                "probe_id": k, "text": "".join(tokens), "token_ids": [ids[t] for t in tokens],
                "tokens_ascii": [ascii_token(t) for t in tokens], "seq_len": len(tokens), "activation_tensor_key": k,
                "activation_tensor_shape": list(acts[k].shape), "activation_tensor_dtype": "fp32",
            }
            for k, tokens in prompts.items()
        ],
    }  # fmt: skip
    (path / "manifest.json").write_text(json.dumps(record))
    return Run.open(path)


def _manifest(records, layers, n_layers, d_mlp, dtype, bos_token_id, writer, model_name) -> Manifest:
    return Manifest(
        format_version=2, created_at_utc="2026-01-02T03:04:05+00:00", stage="poc1_dump_activations",
        n_prompts=len(records), n_tokens=sum(p.seq_len for p in records), n_layers=n_layers, layers=layers,
        d_mlp=d_mlp, hook_name="blocks.{layer}.mlp.hook_post", model_name=model_name, model_revision=None,
        weights_fingerprint=None, architecture="Toy", tokenizer_sha256="0" * 64, attn_implementation="eager",
        quantization="none", trust_remote_code=False, run_device="cpu", device_name="cpu", model_dtype="fp32",
        save_dtype=dtype, prepend_bos=True, bos_token_id=bos_token_id,
        bos_policy="none" if bos_token_id is None else "prepended", seed=0, activations_file="activations.safetensors",
        files=[r.file for r in writer.done.values()], versions={}, git_revision=None, flags_given=[],
        flags_resolved={}, wall_seconds=0.5, host="test", failed_prompts=[], prompts=records,
    )  # fmt: skip
