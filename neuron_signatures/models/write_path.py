"""The output directions of all neurons as the unembedding reads them, with the norms' weights and without their scales.

    direction = final(post(W_out[i]))

`post` is the norm on the MLP's output (Gemma-2, Gemma-3), the identity in other models, and `final` is the norm before
the unembedding. Both are their linear part: the weight in the norm's own form (1 + w in Gemma), after centring if it is
a LayerNorm. A norm's scale is one positive factor per layer and position.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import output_projections
from neuron_signatures.models.norms import NormForm, centre
from neuron_signatures.models.residual import trace_residual
from neuron_signatures.models.weights import Unembedding, output_weight, unembedding


@dataclass(frozen=True)
class WritePath:
    """What lies between the neurons of each layer and the logits."""

    projections: tuple[nn.Module, ...]
    post_mlp: tuple[NormForm | None, ...]
    final: NormForm
    head: Unembedding

    def rows(self, layer: int) -> Float[Tensor, "neuron d_model"]:
        """What each neuron of the layer adds to the MLP's output per unit of activation, in float32 or wider."""
        return output_weight(self.projections[layer])

    @torch.no_grad()
    def written(self, layer: int, rows: Float[Tensor, "some d_model"]) -> Float[Tensor, "some d_model"]:
        """What some of the layer's `rows` add to the residual stream, up to the scale of the norm `post`, on the device
        of the unembedding; centred if `final` is a LayerNorm, which does not read the mean."""
        rows = self._after_post(layer, rows)
        rows = centre(rows) if self.final.centred else rows
        return rows.to(self.head.weight.device)

    @torch.no_grad()
    def directions(self, layer: int, rows: Float[Tensor, "some d_model"]) -> Float[Tensor, "some d_model"]:
        """Some of the layer's `rows` through the norms, on the device of the unembedding."""
        rows = self._after_post(layer, rows)
        return self.final.unscaled(rows.to(self.final.weight.device)).to(self.head.weight.device)

    def _after_post(self, layer: int, rows: Float[Tensor, "some d_model"]) -> Float[Tensor, "some d_model"]:
        post = self.post_mlp[layer]
        return rows if post is None else post.unscaled(rows.to(post.weight.device))


def write_path(hf: PreTrainedModel, token_ids: list[int]) -> WritePath:
    """The path of a model. The prompt shows which norms the outputs of the MLPs pass; no number depends on it.

    Raises `UsageError` if a layer adds something else than attention and MLP to the residual stream.
    """
    with memory_faults(work_on(hf, "the forward pass that finds the norms", token_ids)):
        trace = trace_residual(hf, token_ids, len(token_ids) - 1)
    return WritePath(
        tuple(output_projections(hf)),
        tuple(None if norm is None else norm.form for norm in trace.post_mlp),
        trace.final_norm.form,
        unembedding(hf),
    )
