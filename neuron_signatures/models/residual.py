"""The residual stream at one position as a sum of what attention and MLP of each layer add, from one forward pass.

    x_final = embed + Σ_layer (attn + mlp),   mlp = post_norm(W_out · acts + b_out)

Norms are located during the forward pass: a norm whose input is the output tensor of attention or MLP is a norm on
that output (the sandwich norms of Gemma-2 and Gemma-3). Layers whose parts do not add up to their output are refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.models.capture import backbone, decoder_layers, output_projections
from neuron_signatures.models.norms import FrozenNorm, freeze_norm, is_norm
from neuron_signatures.models.weights import at_least_float32
from neuron_signatures.runs.errors import UsageError

# Largest accepted error of attention plus MLP, relative to the norm of the stream: rounding only.
_TOLERANCE = {torch.bfloat16: 0.05, torch.float16: 0.01, torch.float32: 1e-4, torch.float64: 1e-4}


@dataclass(frozen=True)
class ResidualTrace:
    """The terms of the residual stream at one position, in float32 or wider.

    `mlp_input` is the stream that each layer's MLP reads: with what attention adds, without it in parallel blocks.
    `attn` and `mlp` are the vectors added to the stream, after the sandwich norm if there is one. `post_mlp` is the
    norm on each layer's MLP output, or None. `hidden` is the output of the final norm, as the model computed it.
    """

    acts: Float[Tensor, "layer neuron"]
    embed: Float[Tensor, " d_model"]
    attn: Float[Tensor, "layer d_model"]
    mlp: Float[Tensor, "layer d_model"]
    mlp_input: Float[Tensor, "layer d_model"]
    final: Float[Tensor, " d_model"]
    hidden: Float[Tensor, " d_model"]
    post_mlp: tuple[FrozenNorm | None, ...]
    final_norm: FrozenNorm


@torch.no_grad()
def trace_residual(hf: PreTrainedModel, token_ids: Sequence[int], pos: int) -> ResidualTrace:
    """Run the prompt up to `pos` once and return the terms of the residual stream at `pos`.

    Raises `UsageError` for a layer whose attention and MLP do not add up to what it adds to the stream.
    """
    body = backbone(hf)
    blocks = zip(decoder_layers(hf), output_projections(hf), strict=True)
    layers = [_LayerTrace(layer, projection, pos) for layer, projection in blocks]
    norm = final_norm(hf)
    finals: list[Tensor] = []

    def keep_final(_: nn.Module, args: tuple[Any, ...]) -> None:
        finals.append(args[0][0, pos])

    with contextlib.ExitStack() as stack:
        for layer in layers:
            layer.watch(stack)
        stack.enter_context(norm.register_forward_pre_hook(keep_final))
        ids = torch.tensor([list(token_ids[: pos + 1])], device=hf.get_input_embeddings().weight.device)
        out = body(input_ids=ids, use_cache=False).last_hidden_state
    for i, layer in enumerate(layers):
        layer.check(f"layer {i} of {type(body).__name__}")
    device = finals[0].device

    def stacked(parts: list[Tensor]) -> Tensor:
        return torch.stack([at_least_float32(part.to(device)) for part in parts])

    return ResidualTrace(
        acts=stacked([layer.acts for layer in layers]),
        embed=at_least_float32(layers[0].before.to(device)),
        attn=stacked([layer.attn for layer in layers]),
        mlp=stacked([layer.mlp for layer in layers]),
        mlp_input=stacked([layer.mlp_input for layer in layers]),
        final=at_least_float32(finals[0]),
        hidden=at_least_float32(out[0, pos].to(device)),
        post_mlp=tuple(layer.post_mlp for layer in layers),
        final_norm=freeze_norm(norm, finals[0]),
    )


def final_norm(hf: PreTrainedModel) -> nn.Module:
    """The norm between the last layer and the unembedding; raises `UsageError` if ambiguous."""
    body = backbone(hf)
    norms: list[nn.Module] = [m for m in body.children() if is_norm(m)]
    if len(norms) != 1:
        raise UsageError(f"expected one norm after the last layer, found {len(norms)}", where=type(body).__name__)
    return norms[0]


def layer_norms(hf: PreTrainedModel) -> list[nn.Module]:
    """All layers' norms on the residual stream and on what is added to it; without those inside attention."""
    return [m for layer in decoder_layers(hf) for m in layer.children() if is_norm(m)]


def attention(layer: nn.Module) -> nn.Module:
    """The attention module of a decoder layer; raises `UsageError` unless there is exactly one."""
    found = [m for m in layer.children() if "attention" in type(m).__name__.lower()]
    if len(found) != 1:
        raise UsageError(f"expected one attention module, found {len(found)}", where=type(layer).__name__)
    return found[0]


@dataclass
class _LayerTrace:
    """Input, terms and output of one layer in a forward pass. Whole tensors are held until the layer is done, so
    that their storage is not reused and equal addresses mean the same tensor."""

    layer: nn.Module
    projection: nn.Module
    pos: int
    _attn_out: Tensor | None = None
    _mlp_out: Tensor | None = None
    _norms: list[tuple[nn.Module, Tensor, Tensor]] = field(default_factory=list)
    _mlp_in: Tensor | None = None
    before: Tensor = field(init=False)
    after: Tensor = field(init=False)
    acts: Tensor = field(init=False)
    attn: Tensor = field(init=False)
    mlp: Tensor = field(init=False)
    mlp_input: Tensor = field(init=False)
    post_mlp: FrozenNorm | None = None

    def watch(self, stack: contextlib.ExitStack) -> None:
        """Register the hooks, until `stack` is closed."""
        stack.enter_context(self.layer.register_forward_pre_hook(self._enter, with_kwargs=True))
        stack.enter_context(self.layer.register_forward_hook(self._leave))
        stack.enter_context(attention(self.layer).register_forward_hook(self._keep_attn))
        stack.enter_context(self.projection.register_forward_hook(self._keep_mlp))
        for holder in self.layer.children():
            if holder is not self.projection and self.projection in set(holder.modules()):
                stack.enter_context(holder.register_forward_pre_hook(self._keep_mlp_in))
        for norm in filter(is_norm, self.layer.children()):
            stack.enter_context(norm.register_forward_hook(self._keep_norm))

    def check(self, where: str) -> None:
        added = at_least_float32(self.attn) + at_least_float32(self.mlp)
        before, after = at_least_float32(self.before), at_least_float32(self.after)
        error = float((before + added - after).norm() / torch.maximum(before.norm(), after.norm()))
        if not error <= _TOLERANCE.get(self.after.dtype, 1e-4):
            raise UsageError(
                f"attention and MLP do not add up to what the layer adds to the residual stream (off by {error:.2g})",
                where=where,
                next_step="Exact attribution does not support this architecture; use act_grad or ablation",
            )

    def _keep_attn(self, _: nn.Module, args: Any, out: Any) -> None:
        self._attn_out = out[0] if isinstance(out, tuple) else out

    def _keep_mlp(self, _: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
        self.acts, self._mlp_out = self._at(args[0]), out

    def _keep_mlp_in(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        self._mlp_in = args[0]

    def _keep_norm(self, module: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
        self._norms.append((module, args[0], out))

    def _enter(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.before = self._at(args[0] if args else kwargs["hidden_states"])

    def _leave(self, _: nn.Module, args: Any, out: Any) -> None:
        assert self._attn_out is not None and self._mlp_out is not None
        self.after = self._at(out[0] if isinstance(out, tuple) else out)
        after_attn, after_mlp = self._norm_on(self._attn_out), self._norm_on(self._mlp_out)
        self.attn = self._at(after_attn[1] if after_attn else self._attn_out)
        self.mlp = self._at(after_mlp[1] if after_mlp else self._mlp_out)
        self.mlp_input = self._entering()  # before the norm is called again
        self.post_mlp = freeze_norm(after_mlp[0], self._at(self._mlp_out)) if after_mlp else None
        self._attn_out = self._mlp_out = self._mlp_in = None
        self._norms.clear()

    def _entering(self) -> Tensor:
        """The stream that the MLP reads, with attention or without: what its norm (or itself) was called with."""
        with_attention = self.before + self.attn
        read = [x for _, x, _ in self._norms] + ([] if self._mlp_in is None else [self._mlp_in])
        nearest = min(float((self._at(x) - with_attention).norm()) for x in read)
        return with_attention if nearest <= float(self.attn.norm()) / 2 else self.before

    def _norm_on(self, source: Tensor) -> tuple[nn.Module, Tensor] | None:
        same = [(m, y) for m, x, y in self._norms if x.data_ptr() == source.data_ptr() and x.shape == source.shape]
        assert len(same) <= 1
        return same[0] if same else None

    def _at(self, x: Tensor) -> Tensor:
        # OPT (transformers 5.23) flattens batch and positions before its MLP.
        return x[self.pos] if x.ndim == 2 else x[0, self.pos]
