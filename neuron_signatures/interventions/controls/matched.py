"""Random neurons that stand for given ones: of the same layers, and none of them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def enough_neurons(layer: Int[Tensor, " n"], norms: Float[Tensor, "layer neuron"]) -> bool:
    """Whether every layer has as many neurons with an output as are to be drawn of it."""
    layers, counts = layer.unique(return_counts=True)
    return bool((counts <= (norms[layers] > 0).sum(1)).all())


def matched_neurons(
    layer: Int[Tensor, " n"],
    neuron: Int[Tensor, " n"],
    norms: Float[Tensor, "layer neuron"],
    rng: np.random.Generator,
) -> Int[Tensor, " n"]:
    """For each neuron a random one of its layer, all different, whose output is not 0.

    None of the given ones is drawn, unless its layer has too few others: a control that is the neuron itself says
    nothing about it. The layers need `enough_neurons`.
    """
    drawn = torch.empty_like(neuron)
    for at in layer.unique().tolist():
        rows = (layer == at).nonzero()[:, 0]
        usable = (norms[at] > 0).nonzero()[:, 0].numpy()
        others = np.setdiff1d(usable, neuron[rows].numpy())
        choices = others if len(others) >= len(rows) else usable
        drawn[rows] = torch.from_numpy(rng.choice(choices, size=len(rows), replace=False))
    return drawn
