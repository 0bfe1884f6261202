"""The input directions of all neurons as they read the residual stream, with the norm's weight and without its scale.

    direction = centre(weight ⊙ W_in[i])

`weight` is that of the norm before the MLP in its own form (1 + w in Gemma); centred if it is a LayerNorm. In a gated
MLP, `gate` is the projection that the activation function reads, `input` the other one.

Modules are located during a forward pass: the norm whose output the projections read, and the projection whose output
the activation function reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import backbone, decoder_layers, linear_features, output_projections
from neuron_signatures.models.norms import NormForm, is_norm, measure_norm
from neuron_signatures.models.relevance import activation_function
from neuron_signatures.models.residual import attention
from neuron_signatures.models.weights import input_weight
from neuron_signatures.runs.errors import UsageError


class Projection(NamedTuple):
    """The `n` outputs of a module from `first` on: one per neuron."""

    module: nn.Module
    first: int
    n: int

    def rows(self) -> Float[Tensor, "neuron d_model"]:
        return input_weight(self.module)[self.first : self.first + self.n]


class LayerReads(NamedTuple):
    """What the neurons of a layer read. `norm` is None if they read the stream itself, `gate` if there is none."""

    norm: NormForm | None
    input: Projection
    gate: Projection | None

    @torch.no_grad()
    def directions(self, which: Projection) -> Float[Tensor, "neuron d_model"]:
        """The rows of `input` or `gate` through the norm, in float32 or wider."""
        rows = which.rows()
        return rows if self.norm is None else self.norm.read_by(rows.to(self.norm.weight.device))


def read_path(hf: PreTrainedModel, token_ids: Sequence[int]) -> list[LayerReads]:
    """The input projections of each layer. The prompt shows which modules read what; no number depends on it.

    Raises `UsageError` if the projections of an MLP are not recognised.
    """
    blocks = zip(decoder_layers(hf), output_projections(hf), strict=True)
    traces = [_Trace(layer, projection) for layer, projection in blocks]
    body = backbone(hf)
    work = work_on(hf, "the forward pass that finds the input projections", token_ids)
    with memory_faults(work), contextlib.ExitStack() as stack, torch.no_grad():
        for trace in traces:
            trace.watch(stack)
        ids = torch.tensor([list(token_ids)], device=hf.get_input_embeddings().weight.device)
        body(input_ids=ids, use_cache=False)
    d_model = body.config.get_text_config().hidden_size
    return [t.reads(d_model, where=f"layer {i} of {type(body).__name__}") for i, t in enumerate(traces)]


@dataclass
class _Trace:
    """One layer in a forward pass. Whole tensors are held until the layer is done, so that their storage is not reused
    and equal addresses mean the same tensor."""

    layer: nn.Module
    projection: nn.Module
    _norms: list[tuple[nn.Module, Tensor]] = field(default_factory=list)
    _linear: list[tuple[nn.Module, Tensor, Tensor]] = field(default_factory=list)
    _activated: Tensor | None = None
    _norm: nn.Module | None = None
    _input: Projection | None = None
    _gate: Projection | None = None

    def watch(self, stack: contextlib.ExitStack) -> None:
        """Register the hooks, until `stack` is closed."""
        inside_attention = set(attention(self.layer).modules())
        for module in self.layer.modules():
            if module in inside_attention or module is self.projection:
                continue
            if linear_features(module) is not None:
                stack.enter_context(module.register_forward_hook(self._keep_linear))
            elif is_norm(module):
                stack.enter_context(module.register_forward_hook(self._keep_norm))
        activation = activation_function(self.layer)
        stack.enter_context(activation.register_forward_pre_hook(self._keep_activated))
        stack.enter_context(self.layer.register_forward_hook(self._leave))

    def reads(self, d_model: int, *, where: str) -> LayerReads:
        if self._input is None:
            shapes = ", ".join(str(linear_features(m)) for m, *_ in self._linear) or "none"
            what = f"the input projections of the MLP are not recognised among: {shapes}"
            raise UsageError(what, where=where, next_step="This architecture is not supported")
        return LayerReads(None if self._norm is None else measure_norm(self._norm, d_model), self._input, self._gate)

    def _keep_norm(self, module: nn.Module, args: Any, out: Tensor) -> None:
        self._norms.append((module, out))

    def _keep_linear(self, module: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
        self._linear.append((module, args[0], out))

    def _keep_activated(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        self._activated = args[0]

    def _leave(self, _: nn.Module, args: Any, out: Any) -> None:
        features = linear_features(self.projection)
        assert features is not None
        found = [self._whose_output_is_activated(module, out, features[0]) for module, _, out in self._linear]
        gated = [pair for pair in found if pair is not None]
        if len(gated) == 1:
            self._assign(gated[0], features[0])
        if self._input is not None:
            read = self._linear[0][1].data_ptr()
            self._norm = next((module for module, y in self._norms if y.data_ptr() == read), None)
            self._linear.clear()
        self._norms.clear()
        self._activated = None

    def _whose_output_is_activated(self, module: nn.Module, out: Tensor, n: int) -> Projection | None:
        """The outputs of `module` that the activation function reads."""
        features = linear_features(module)
        assert features is not None and self._activated is not None
        for first in range(0, features[1] - n + 1, n):
            if out.data_ptr() + first * out.element_size() == self._activated.data_ptr():
                return Projection(module, first, n)
        return None

    def _assign(self, activated: Projection, n: int) -> None:
        others = [
            Projection(module, first, n)
            for module, *_ in self._linear
            for first in range(0, (linear_features(module) or (0, 0))[1], n)
            if (module, first) != activated[:2]
        ]
        if len({x.data_ptr() for _, x, _ in self._linear}) != 1 or len(others) > 1:
            return
        self._input, self._gate = (others[0], activated) if others else (activated, None)
