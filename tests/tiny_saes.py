"""Tiny random SAEs, and folders of them as sae-lens and Gemma Scope lay them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from neuron_signatures.models.saes.fit import SaeModel
from neuron_signatures.runs.skills.banks import Site

D_MODEL, D_Z, D_SAE, N_LAYERS = 6, 8, 16, 3
MODEL = SaeModel("tiny", N_LAYERS, D_MODEL, D_Z)
HOOKS: dict[Site, str] = {
    "res": "blocks.{}.hook_resid_post",
    "att": "blocks.{}.attn.hook_z",
    "mlp": "blocks.{}.hook_mlp_out",
}


def random_weights(architecture: str = "jumprelu", *, d_in: int = D_MODEL, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    weights = {
        "W_enc": torch.randn(d_in, D_SAE, generator=g),
        "b_enc": torch.randn(D_SAE, generator=g),
        "W_dec": torch.randn(D_SAE, d_in, generator=g),
        "b_dec": torch.randn(d_in, generator=g),
    }
    return {**weights, "threshold": torch.rand(D_SAE, generator=g)} if architecture == "jumprelu" else weights


def config(architecture: str = "jumprelu", site: Site = "res", layer: int = 0, **changes: Any) -> dict[str, Any]:
    """A cfg.json of sae-lens 6. `model_name` and `hook_name` go into its metadata."""
    metadata = {
        "sae_lens_version": "6.54.0",
        "model_name": changes.pop("model_name", "tiny"),
        "hook_name": changes.pop("hook_name", HOOKS[site].format(layer)),
    }
    return {
        "architecture": architecture,
        "d_in": D_Z if site == "att" else D_MODEL,
        "d_sae": D_SAE,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": architecture != "jumprelu",
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if site == "att" else "none",
        "metadata": metadata,
        **({"k": 3} if architecture == "topk" else {}),
        **changes,
    }


def write_lens(folder: Path, cfg: dict[str, Any], weights: dict[str, Tensor] | None = None) -> Path:
    """A folder as `SAE.save_model` of sae-lens writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file(weights or random_weights(cfg["architecture"], d_in=cfg["d_in"]), folder / "sae_weights.safetensors")
    return folder


def write_lens_saes(folder: Path) -> Path:
    """SAEs of every site of every layer, of the three architectures in turn."""
    for n, (site, layer) in enumerate((site, layer) for site in HOOKS for layer in range(N_LAYERS)):
        write_lens(folder / f"{site}_{layer}", config(("jumprelu", "topk", "standard")[n % 3], site, layer))
    return folder


def write_gemma_scope(folder: Path, layer: int, *, d_in: int = D_MODEL, l0: int = 40, file: str = "params.npz") -> Path:
    """A folder `layer_L/width_16k/average_l0_N` with one file of weights, as Gemma Scope's."""
    place = folder / f"layer_{layer}" / "width_16k" / f"average_l0_{l0}"
    place.mkdir(parents=True)
    weights = random_weights(d_in=d_in, seed=layer)
    if file.endswith(".npz"):
        np.savez(place / file, **{key: t.numpy() for key, t in weights.items()})
    else:
        save_file(weights, place / file)
    return place
