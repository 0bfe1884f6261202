"""The neurons at positions that may become nodes: the most relevant of all."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.circuits.types import NeuronAt


def strongest(relevance: Float[Tensor, "layer pos neuron"], n: int) -> list[NeuronAt]:
    """The `n` neurons at positions with the largest |relevance| that is not 0, in order of layer, position and index.

    Ties go to the first. NaN counts as 0.
    """
    size = relevance.abs().nan_to_num(0.0).flatten()
    order = torch.sort(size, descending=True, stable=True).indices[:n]
    chosen = order[size[order] > 0].sort().values
    _, n_pos, n_neurons = relevance.shape
    places = torch.stack([chosen // (n_pos * n_neurons), chosen // n_neurons % n_pos, chosen % n_neurons], dim=1)
    return [NeuronAt(*place) for place in places.tolist()]
