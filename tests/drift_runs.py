"""Small runs for comparisons, made without a model: activations, token ids and texts as given."""

from __future__ import annotations

from pathlib import Path

import torch
from run_folders import manifest_of, prompt_of

from neuron_signatures.runs.journal import PromptOutcome
from neuron_signatures.runs.names import activation_file
from neuron_signatures.runs.writer import open_writer

N_PROMPTS, LENGTH, N_LAYERS, D_MLP = 8, 6, 2, 12


def token_ids(n_prompts: int = N_PROMPTS, length: int = LENGTH) -> dict[str, list[int]]:
    """The first token is the BOS, all others are different."""
    return {f"p{i}": [0, *range(100 * i + 1, 100 * i + length)] for i in range(n_prompts)}


def acts(seed: int = 0, *, d_mlp: int = D_MLP, n_layers: int = N_LAYERS, ids=None) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = token_ids() if ids is None else ids
    return {k: torch.randn(n_layers, len(v), d_mlp, generator=generator) for k, v in ids.items()}


def make_run(path: Path, values: dict[str, torch.Tensor], *, ids=None, texts=None, nonfinite=(), layers=None) -> Path:
    """A complete run. `nonfinite` are prompts that the manifest says have values that are not finite."""
    ids = {k: v for k, v in token_ids().items() if k in values} if ids is None else ids
    name = activation_file(0, 1, "safetensors")
    with open_writer(path, "new", settings={"seed": 0}, facts={}) as writer:
        outcomes = [PromptOutcome(prompt_id=k, nonfinite=int(k in nonfinite)) for k in values]
        writer.write_shard(0, name, values, outcomes, 0.1)
        files = [r.file for r in writer.done.values() if r.file]
        n_layers, _, d_mlp = next(iter(values.values())).shape
        prompts = [
            prompt_of(k, t, "fp32", name).model_copy(update={
                "token_ids": ids[k], "text": (texts or {}).get(k, f"text {k}"), "nonfinite": int(k in nonfinite),
            })
            for k, t in values.items()
        ]  # fmt: skip
        stored = list(range(n_layers)) if layers is None else layers
        update = {"n_layers": max(stored) + 1, "layers": stored, "d_mlp": d_mlp, "prompts": prompts}
        files_of = dict.fromkeys(values, name)
        writer.finish(manifest_of(values, "fp32", files_of, files).model_copy(update=update))
    return path
