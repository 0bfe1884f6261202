"""Projections of the MLPs, and the unembedding with its bias and soft cap."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.models.capture import linear_features
from neuron_signatures.runs.errors import UsageError

_ROWS_AT_ONCE = 1024


class Unembedding(NamedTuple):
    """The map from the final norm's output to logits, in the checkpoint's dtype.

    `soft_cap` is c in logit = c·tanh(z/c), which the model applies afterwards (Gemma-2), or None.
    """

    weight: Float[Tensor, "vocab d_model"]
    bias: Float[Tensor, " vocab"] | None
    soft_cap: float | None

    def rows(self, token_ids: list[int]) -> Float[Tensor, "token d_model"]:
        """Unembedding directions of these tokens, in float32 or wider."""
        return at_least_float32(self.weight[token_ids])


def unembedding(hf: PreTrainedModel) -> Unembedding:
    """The model's unembedding; raises `UsageError` if it is not a plain linear map."""
    head = hf.get_output_embeddings()
    if not isinstance(head, nn.Linear) or not head.weight.is_floating_point():
        raise UsageError("the unembedding is not a plain linear map", where=type(hf).__name__)
    return Unembedding(head.weight, head.bias, getattr(hf.config.get_text_config(), "final_logit_softcapping", None))


def output_weight(projection: nn.Module) -> Float[Tensor, "neuron d_model"]:
    """One row per neuron: what it adds to the MLP's output per unit of activation, in float32 or wider.

    Quantised weights are measured by applying the module to unit vectors.
    """
    features = linear_features(projection)
    assert features is not None, type(projection).__name__
    weight = projection.weight
    assert isinstance(weight, Tensor)
    if weight.is_floating_point() and tuple(weight.shape) in (features, features[::-1]):
        return at_least_float32(weight.T if isinstance(projection, nn.Linear) else weight)
    return _rows_by_unit_vectors(projection, features[0], weight.device)


def input_weight(projection: nn.Module) -> Float[Tensor, "neuron d_model"]:
    """One row per output of a projection that reads d_model: what it is multiplied with, in float32 or wider.

    Quantised weights as in `output_weight`.
    """
    return output_weight(projection).T


def output_bias(projection: nn.Module) -> Float[Tensor, " d_model"] | None:
    """Bias of the projection, in float32 or wider; None if it has none."""
    bias = projection.bias
    return at_least_float32(bias) if isinstance(bias, Tensor) else None


def at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def _rows_by_unit_vectors(projection: nn.Module, n: int, device: torch.device) -> Tensor:
    bias = output_bias(projection)
    rows = []
    for first in range(0, n, _ROWS_AT_ONCE):
        units = torch.zeros(min(_ROWS_AT_ONCE, n - first), n, dtype=torch.bfloat16, device=device)
        units[torch.arange(len(units)), torch.arange(first, first + len(units))] = 1
        out = at_least_float32(projection(units))
        rows.append(out if bias is None else out - bias)
    return torch.cat(rows)
