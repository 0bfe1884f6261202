"""Relevance propagation by gradients: the same forward pass with modified derivative rules.

RelP, arXiv 2508.21258. Within `relevance_rules(hf)`:
- the scale of every norm is constant;
- attention patterns are constant (gradients reach them only through queries and keys, which are detached);
- act(z) is z times the constant act(z)/z;
- the gradient of gate times up is halved, so that the relevance of the product is not counted twice.
On a model without biases, the sum of x·∂f/∂x is then the same from the embedding to the pre-cap logit.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from neuron_signatures.models.capture import decoder_layers, linear_features, output_projections
from neuron_signatures.models.norms import NormForm, is_norm, measure_norm
from neuron_signatures.models.residual import attention, final_norm, layer_norms
from neuron_signatures.models.weights import at_least_float32
from neuron_signatures.runs.errors import UsageError

_NAME = "neuron_signatures_constant_pattern"


@contextlib.contextmanager
def relevance_rules(hf: PreTrainedModel, *, eager: bool = False) -> Iterator[None]:
    """Within the block, gradients through `hf` follow the rules above; values are unchanged up to rounding.

    With `eager`, attention is computed by single operations, which batches of gradients need. Raises `UsageError` if a
    norm, the activation function or the attention of the model is ambiguous or unsupported.
    """
    with contextlib.ExitStack() as stack:
        for norm in [*layer_norms(hf), final_norm(hf)]:
            form = measure_norm(norm, hf.config.get_text_config().hidden_size)
            stack.enter_context(norm.register_forward_hook(constant_scale(form)))
        for layer, projection in zip(decoder_layers(hf), output_projections(hf), strict=True):
            rule = _MlpRule()
            stack.enter_context(activation_function(layer).register_forward_hook(rule.activation))
            stack.enter_context(projection.register_forward_pre_hook(rule.product))
        stack.enter_context(_constant_patterns(hf, eager=eager))
        yield


@contextlib.contextmanager
def eager_attention(hf: PreTrainedModel) -> Iterator[None]:
    """Within the block, attention is computed by single operations, whose derivatives can be batched."""
    before = str(hf.config._attn_implementation)
    hf.set_attn_implementation("eager")
    try:
        yield
    finally:
        hf.set_attn_implementation(before)


class _MlpRule:
    """The rules inside one MLP; it is gated if the projection's input is not the activation function's output."""

    def __init__(self) -> None:
        self._activated = 0

    def activation(self, module: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        z: Tensor = args[0]
        ratio = slope(module, z, out)
        result = z * ratio
        self._activated = result.data_ptr()
        return result

    def product(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        h: Tensor = args[0]
        gated = h.data_ptr() != self._activated
        return (h / 2 + (h / 2).detach() if gated else h,)


def slope(activation: nn.Module, z: Tensor, out: Tensor) -> Tensor:
    """out / z without a gradient; where z is 0 its limit, the derivative of the activation function at 0."""
    zero = z == 0
    ratio = (out / z).detach()
    return torch.where(zero, _derivative_at_0(activation, z), ratio) if bool(zero.any()) else ratio


def constant_scale(form: NormForm) -> Callable[..., Tensor]:
    """A forward hook for a norm of this form: its scale is constant for gradients, its values stay."""

    def hook(_: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        x = at_least_float32(args[0])
        inverse_scale = form.inverse_scale(x.detach(), at_least_float32(out.detach()))
        return (form.unscaled(x) * inverse_scale + form.bias).to(out.dtype)

    return hook


def activation_function(layer: nn.Module) -> nn.Module:
    """The activation function: the only leaf module of the MLP that is not a linear map, norm, dropout or identity."""
    inside_attention = set(attention(layer).modules())
    found = [
        m
        for m in layer.modules()
        if m not in inside_attention
        and not any(True for _ in m.children())
        and linear_features(m) is None
        and not is_norm(m)
        and not isinstance(m, nn.Dropout | nn.Identity)
    ]
    if len(found) != 1:
        names = ", ".join(type(m).__name__ for m in found) or "none"
        raise UsageError(
            f"expected one activation function in the MLP, found {names}",
            where=type(layer).__name__,
            next_step="Use act_grad, dla or ablation",
        )
    return found[0]


@torch.enable_grad()
def _derivative_at_0(activation: nn.Module, like: Tensor) -> Tensor:
    zero = torch.zeros((), dtype=like.dtype, device=like.device, requires_grad=True)
    (derivative,) = torch.autograd.grad(activation.forward(zero), zero)  # `forward`: without the hook that asks
    return derivative


@contextlib.contextmanager
def _constant_patterns(hf: PreTrainedModel, *, eager: bool) -> Iterator[None]:
    before = str(hf.config._attn_implementation)
    base = "eager" if eager else before
    called: list[nn.Module] = []
    ran: list[nn.Module] = []
    if before not in ("eager", "sdpa"):
        raise UsageError(f"relp supports eager and sdpa attention, not {before}", where=type(hf).__name__)

    def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
        called.append(module)
        # Each modelling file of transformers defines its own eager attention, some with a soft cap.
        own = sys.modules[type(module).__module__]
        original = own.eager_attention_forward if base == "eager" else AttentionInterface()["sdpa"]
        return original(module, query.detach(), key.detach(), value, mask, **kwargs)

    AttentionInterface.register(_NAME, attend)
    AttentionMaskInterface.register(_NAME, AttentionMaskInterface()[base])
    handles = [attention(layer).register_forward_hook(lambda m, *_: ran.append(m)) for layer in decoder_layers(hf)]
    hf.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        hf.set_attn_implementation(before)
        for handle in handles:
            handle.remove()
    if called != ran:
        raise UsageError(
            "its attention does not use transformers' attention interface",
            where=type(hf).__name__,
            next_step="Use act_grad, dla or ablation",
        )
