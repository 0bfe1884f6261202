"""LayerNorm and RMSNorm modules as linear maps, with their scale frozen.

A norm's weight, bias and centring are measured on probe vectors, so that conventions such as Gemma's 1 + w
need no table of class names. The scale is computed from the module's output for the given vector.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuron_signatures.models.weights import at_least_float32
from neuron_signatures.runs.errors import UsageError

# Large enough that the norm's epsilon is below the resolution of float32.
_PROBE = 1e3
# Small enough that epsilon, 1e-6 to 1e-5 in most models, dominates the scale.
_SMALL_PROBE = 1e-3
_TOLERANCE = 1e-4


class NormForm(NamedTuple):
    """norm(x) = centre(x) ⊙ weight / scale(x) + bias; centre(x) is x where `centred` is False."""

    centred: bool
    weight: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]

    def unscaled(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return (centre(x) if self.centred else x) * self.weight

    def read_by(self, direction: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The direction v' with unscaled(x)·direction = x·v' for every x (the transposed map)."""
        weighted = direction * self.weight
        return centre(weighted) if self.centred else weighted

    def inverse_scale(
        self, x: Float[Tensor, "*batch d_model"], y: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch 1"]:
        """1 / scale(x), from a vector and the module's output for it; 0 where the vector is 0."""
        direction = self.unscaled(x)
        length = direction.square().sum(-1, keepdim=True)
        along = ((y - self.bias) * direction).sum(-1, keepdim=True)
        return torch.where(length > 0, along / length, 0.0)


class FrozenNorm(NamedTuple):
    """A norm with its scale fixed to that of one vector: an affine map of d_model."""

    form: NormForm
    inverse_scale: Float[Tensor, "1"]

    def linear(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The map without its bias."""
        return self.form.unscaled(x) * self.inverse_scale

    def pull_back(self, direction: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The direction v' with linear(x)·direction = x·v' for every x (the transposed map)."""
        return self.form.read_by(direction) * self.inverse_scale


def centre(x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    return x - x.mean(-1, keepdim=True)


@torch.no_grad()
def measure_norm(module: nn.Module, d_model: int) -> NormForm:
    """Weight, bias and centring of a norm module, in float32 or wider.

    Raises `UsageError` if the module is neither a LayerNorm nor an RMSNorm.
    """
    parameter = next(module.parameters(), None)
    like = torch.ones(d_model) if parameter is None else at_least_float32(parameter.detach())
    assert d_model % 2 == 0, "the alternating probe has mean 0"
    signs = 1.0 - 2.0 * (torch.arange(d_model, device=like.device) % 2).to(like.dtype)
    generator = torch.Generator().manual_seed(0)
    other = 1 + torch.randn(d_model, generator=generator).to(signs)
    probes = torch.stack([_PROBE * torch.ones_like(signs), _PROBE * signs, -_PROBE * signs, other])
    constant, plus, minus, check = evaluate(module, probes)
    weight, bias = (plus - minus) / 2 * signs, (plus + minus) / 2
    centred = torch.allclose(constant, bias, rtol=0, atol=_TOLERANCE * float(weight.abs().max()))
    form = NormForm(centred, weight, bias)
    predicted = form.unscaled(other) * form.inverse_scale(other, check) + bias
    if not torch.allclose(predicted, check, rtol=0, atol=_TOLERANCE * float(check.abs().max())):
        raise UsageError("is neither a LayerNorm nor an RMSNorm", where=type(module).__name__)
    return form


def measure_epsilon(module: nn.Module, form: NormForm) -> float:
    """eps in scale(x) = sqrt(mean(centre(x)²) + eps), with the mean over d_model."""
    d_model = len(form.weight)
    signs = 1.0 - 2.0 * (torch.arange(d_model, device=form.weight.device) % 2).to(form.weight.dtype)
    probe = _SMALL_PROBE * signs
    inverse = float(form.inverse_scale(probe, evaluate(module, probe)))
    return max(0.0, inverse**-2 - _SMALL_PROBE**2)


def freeze_norm(module: nn.Module, x: Float[Tensor, " d_model"]) -> FrozenNorm:
    """The norm with its scale for `x`, computed in float32 or wider, whatever the model's dtype."""
    form = measure_norm(module, x.shape[-1])
    x = at_least_float32(x).to(form.weight.device)
    return FrozenNorm(form, form.inverse_scale(x, evaluate(module, x)))


@torch.no_grad()
def evaluate(module: nn.Module, x: Tensor) -> Tensor:
    """The module's output, with its parameters converted to the dtype of `x`."""
    parameters = {name: p.to(x.dtype) for name, p in module.named_parameters()}
    out = torch.func.functional_call(module, parameters, (x,))
    assert isinstance(out, Tensor)
    return out


def is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()
