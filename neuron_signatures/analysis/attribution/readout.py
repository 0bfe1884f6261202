"""From the unembedding's input to the target function, in float32 at least."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.models.weights import Unembedding, at_least_float32

# Rows of the unembedding multiplied at a time: a copy of a large vocabulary takes gigabytes.
_ROWS_AT_ONCE = 8192


def function_value(
    head: Unembedding, hidden: Float[Tensor, "batch d_model"], target: Target
) -> Float[Tensor, " batch"]:
    """The target function for each row of the unembedding's input at the target position; differentiable."""
    hidden = at_least_float32(hidden).to(head.weight.device)
    if target.function == "logprob" and target.foil_id is None:
        logits = capped(head, pre_cap_logits(head, hidden))
        return logits.log_softmax(-1)[:, target.token_id]
    values = hidden @ head.rows(target.token_ids).to(hidden.dtype).T
    if head.bias is not None:
        values = values + head.bias[target.token_ids].to(hidden.dtype)
    if target.function != "pre_cap_logit":
        values = capped(head, values)
    return values[:, 0] if target.foil_id is None else values[:, 0] - values[:, 1]


def pre_cap_logits(head: Unembedding, hidden: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch vocab"]:
    """Logits before the soft cap; at least float32."""
    hidden = at_least_float32(hidden).to(head.weight.device)
    logits: Tensor = _Product.apply(hidden, head.weight)
    return logits if head.bias is None else logits + head.bias.to(hidden.dtype)


def capped(head: Unembedding, logits: Tensor) -> Tensor:
    """The model's logits: c·tanh(z/c) if it has a soft cap c, else z."""
    return logits if head.soft_cap is None else head.soft_cap * torch.tanh(logits / head.soft_cap)


def target_direction(head: Unembedding, target: Target) -> Float[Tensor, " d_model"]:
    """The unembedding direction of the target, minus the foil's: the gradient of the pre-cap logit (difference)."""
    rows = head.rows(target.token_ids)
    return rows[0] if target.foil_id is None else rows[0] - rows[1]


@contextlib.contextmanager
def head_in_parts(head: nn.Linear) -> Iterator[None]:
    """Within the block, the unembedding module multiplies some rows at a time, in the model's dtype.

    torch 2.13 copies a whole bf16 weight before it multiplies it on the CPU.
    """

    def forward(x: Tensor) -> Tensor:
        x = x.to(head.weight.device)  # accelerate's replacement of `forward` would do that
        out = torch.cat([x @ rows.T for rows in head.weight.split(_ROWS_AT_ONCE)], -1)
        return out if head.bias is None else out + head.bias

    replaced = vars(head).get("forward")
    head.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del head.forward
        if replaced is not None:
            head.forward = replaced  # type: ignore[method-assign]


def target_bias(head: Unembedding, target: Target) -> float:
    """The unembedding's bias of the target, minus the foil's."""
    if head.bias is None:
        return 0.0
    biases = at_least_float32(head.bias)[target.token_ids].tolist()
    return float(biases[0] - (biases[1] if len(biases) > 1 else 0.0))


class _Product(torch.autograd.Function):
    """hidden · weightᵀ in the dtype of `hidden`; the weight is constant.

    Autograd would keep every converted part of the weight for the backward pass; this converts each again.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return torch.cat([hidden @ rows.to(hidden.dtype).T for rows in weight.split(_ROWS_AT_ONCE)], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        (grad,) = grads
        total = grad.new_zeros(*grad.shape[:-1], weight.shape[1])
        for some, rows in zip(grad.split(_ROWS_AT_ONCE, -1), weight.split(_ROWS_AT_ONCE), strict=True):
            total += some @ rows.to(grad.dtype)
        return total, None
