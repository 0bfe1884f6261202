"""The weights of all neurons, layer by layer, with the weights of the norms folded in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from neuron_signatures.models.capture import MlpShape, mlp_shape
from neuron_signatures.models.memory import release_mapped_weights
from neuron_signatures.models.read_path import LayerReads, read_path
from neuron_signatures.models.write_path import WritePath, write_path
from neuron_signatures.runs.weights.folder import Weight

_SOME_IDS: Final = (0, 1, 2, 3)
"""Tokens of the forward passes that find the modules; no number depends on them."""


@dataclass(frozen=True)
class ModelWeights:
    """The neurons of a model as directions of the residual stream, in float32 or wider."""

    shape: MlpShape
    writes: WritePath
    reads: list[LayerReads]

    @property
    def kinds(self) -> tuple[Weight, ...]:
        """Which weights the neurons have."""
        return ("output", "input") if self.reads[0].gate is None else ("output", "input", "gate")

    @property
    def d_model(self) -> int:
        return int(self.writes.head.weight.shape[1])

    @property
    def device(self) -> torch.device:
        """That of the unembedding, where all is computed."""
        return self.writes.head.weight.device

    @torch.no_grad()
    def directions(self, layer: int, kind: Weight) -> Float[Tensor, "neuron d_model"]:
        """`output`: W_out through the norm on the MLP's output. `input`, `gate`: with the weight of the norm before the
        MLP. Centred where the norm that reads (the final one, the one before the MLP) centres."""
        if kind == "output":
            return self.writes.written(layer, self.writes.rows(layer))
        reads = self.reads[layer]
        which = reads.input if kind == "input" else reads.gate
        assert which is not None, f"layer {layer} has no gate"
        return reads.directions(which).to(self.device)


def model_weights(hf: PreTrainedModel) -> ModelWeights:
    """The weights of a model. Raises `UsageError` if its MLPs or norms are not recognised."""
    ids = list(_SOME_IDS)
    found = ModelWeights(mlp_shape(hf), write_path(hf, ids), read_path(hf, ids))
    release_mapped_weights()  # the forward passes have read all of them, and no attention is needed any more
    return found
