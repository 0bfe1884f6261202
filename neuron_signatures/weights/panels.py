"""Layers that are computed together: as many as fit in little memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.runs.weights.folder import Weight
from neuron_signatures.weights.model_weights import ModelWeights

PANEL_BYTES: Final = 96 << 20
"""Float32 rows that are held at a time, at least those of one layer."""


def panels_of(weights: ModelWeights, layers: Sequence[int]) -> list[list[int]]:
    """The layers in order, in groups."""
    per_layer = 4 * weights.shape.d_mlp * weights.d_model
    n = max(1, PANEL_BYTES // per_layer)
    return [list(layers[i : i + n]) for i in range(0, len(layers), n)]


@torch.no_grad()
def unit_rows(weights: ModelWeights, panel: Sequence[int], kind: Weight) -> Float[Tensor, "neuron d_model"]:
    """The directions of all neurons of some layers, of length 1 in float32; 0 for a neuron without a direction."""
    n = weights.shape.d_mlp
    out = torch.empty(len(panel) * n, weights.d_model, dtype=torch.float32, device=weights.device)
    for i, layer in enumerate(panel):
        part = out[i * n : (i + 1) * n]
        part.copy_(weights.directions(layer, kind))
        part /= torch.linalg.vector_norm(part, dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return out
