"""Scales of the embeddings and of the biases, all 1, as leaves of the gradient.

    x = emb · s,   y = W x + b · s_layer

Values are unchanged. Where the outputs of a model are linear in its embeddings and biases (`models.relevance`), the
derivative by a scale is what the embedding, or all biases of a layer, contribute at that position.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.models.capture import decoder_layers, linear_features
from neuron_signatures.models.norms import is_norm, measure_norm
from neuron_signatures.models.residual import final_norm
from neuron_signatures.models.weights import at_least_float32


@dataclass(frozen=True)
class ScaleLeaves:
    """Leaves of ones. The embedding is the input of the first layer, positional embeddings included; the biases of a
    layer are those of its linear maps and of its norms, and the final norm's bias belongs to the last layer."""

    embedding: Float[Tensor, " pos"]
    biases: tuple[Float[Tensor, " pos"], ...]
    """One for each layer."""


@contextlib.contextmanager
def scale_leaves(hf: PreTrainedModel, n_pos: int) -> Iterator[ScaleLeaves]:
    """Within the block, forward passes over one prompt of `n_pos` tokens have the scales as leaves.

    Hooks run in the order of registration, so that this block is inside of `relevance_rules`.
    """
    layers = decoder_layers(hf)

    def ones() -> Tensor:
        return torch.ones(n_pos, device=hf.get_input_embeddings().weight.device, requires_grad=True)

    leaves = ScaleLeaves(ones(), tuple(ones() for _ in layers))
    d_model = hf.config.get_text_config().hidden_size
    with contextlib.ExitStack() as stack:
        stack.enter_context(layers[0].register_forward_pre_hook(_scaled_input(leaves.embedding), with_kwargs=True))
        for layer, scale in zip(layers, leaves.biases, strict=True):
            norms = set(filter(is_norm, layer.children()))
            for module in layer.modules():
                bias = _bias(module, d_model) if linear_features(module) is not None or module in norms else None
                if bias is not None:
                    stack.enter_context(module.register_forward_hook(_scaled_bias(bias, scale)))
        bias = _bias(final_norm(hf), d_model)
        if bias is not None:
            stack.enter_context(final_norm(hf).register_forward_hook(_scaled_bias(bias, leaves.biases[-1])))
        yield leaves


def _bias(module: nn.Module, d_model: int) -> Tensor | None:
    if is_norm(module):
        return measure_norm(module, d_model).bias if getattr(module, "bias", None) is not None else None
    return at_least_float32(module.bias) if isinstance(module.bias, Tensor) else None


def _scaled_input(scale: Tensor) -> Callable[..., tuple[Any, Any]]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        x: Tensor = (args[0] if args else kwargs["hidden_states"]).detach()
        x = x * scale.to(x)[:, None]
        return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": x})

    return hook


def _scaled_bias(bias: Tensor, scale: Tensor) -> Callable[..., Tensor]:
    def hook(_: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        # adds 0. OPT (transformers 5.23) flattens batch and positions: [pos, width] instead of [1, pos, width]
        return out + (bias.detach() * (scale - scale.detach()).to(out.device)[:, None]).to(out.dtype)

    return hook
