"""Neuron activations (the input of each MLP's output projection) from one plain forward pass.

The values equal transformer-lens' `blocks.{layer}.mlp.hook_post`, but attention need not be eager and nothing else
is hooked. Mixture-of-experts layers have no such tensor and are refused. `bridge.py` captures through transformer-lens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.runs.errors import UsageError

# Attribute names of the MLP in a decoder layer, of its projection into the residual stream, and of experts.
_HOLDERS = ("mlp", "feed_forward", "ffn", "feedforward")
_PROJECTIONS = ("down_proj", "c_proj", "fc2", "dense_4h_to_h", "fc_out", "w2", "wo", "proj_out", "output_proj")
_EXPERTS = ("experts", "expert", "router", "block_sparse_moe", "shared_expert", "shared_experts")


# Called with (row in the chosen layers, activations [batch pos neuron])
Sink = Callable[[int, Tensor], None]


class MlpShape(NamedTuple):
    """Number of decoder layers, and neurons per layer."""

    n_layers: int
    d_mlp: int


class Batch(NamedTuple):
    """Right-padded token ids, and their mask: 1 on tokens, 0 on padding; None without padding."""

    input_ids: Int[Tensor, "batch pos"]
    attention_mask: Int[Tensor, "batch pos"] | None


def backbone(hf: PreTrainedModel) -> PreTrainedModel:
    """The text decoder without its unembedding: a dump needs no logits."""
    if getattr(hf.config, "is_encoder_decoder", False):
        raise UsageError("encoder-decoder models are not supported", where=type(hf).__name__)
    body = hf.get_decoder()
    if not isinstance(body, PreTrainedModel):
        raise UsageError("its text decoder is not recognised", where=type(hf).__name__)
    return body


def decoder_layers(hf: PreTrainedModel) -> list[nn.Module]:
    """The decoder's layers in order; raises `UsageError` if ambiguous."""
    body = backbone(hf)
    n_layers = body.config.get_text_config().num_hidden_layers
    stacks = [m for m in body.children() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    if len(stacks) != 1:
        raise UsageError(
            f"expected one stack of {n_layers} decoder layers, found {len(stacks)}", where=type(body).__name__
        )
    return list(stacks[0])


def output_projections(hf: PreTrainedModel) -> list[nn.Module]:
    """Per layer, the linear map from the neurons to the residual stream; its input is `hook_post`.

    Raises `UsageError` for mixture-of-experts and unknown layers; the message names the layer and its modules.
    """
    d_model = backbone(hf).config.get_text_config().hidden_size
    return [_projection(layer, i, d_model) for i, layer in enumerate(decoder_layers(hf))]


def mlp_shape(hf: PreTrainedModel) -> MlpShape:
    """Number of layers and of neurons per layer, from the weights; raises `UsageError` if layers differ in width."""
    return shape_of(output_projections(hf), where=type(hf).__name__)


def shape_of(projections: Sequence[nn.Module], *, where: str) -> MlpShape:
    """Number of layers and of neurons per layer; raises `UsageError` if the widths of the projections differ."""
    widths = [shape[0] for m in projections if (shape := linear_features(m)) is not None]
    for layer, width in enumerate(widths):
        if width != widths[0]:
            raise UsageError(
                f"layer 0 has {widths[0]} neurons but layer {layer} has {width}; all must be equal", where=where
            )
    return MlpShape(len(widths), widths[0])


def linear_features(module: nn.Module) -> tuple[int, int] | None:
    """(inputs, outputs) of nn.Linear, its bitsandbytes subclasses or GPT-2's Conv1D; None for other modules."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D" and isinstance(module.weight, Tensor):
        return module.weight.shape[0], module.weight.shape[1]
    return None


def refuse_experts(layer: nn.Module, mlp: str, *, where: str) -> None:
    """Raise `UsageError` if a decoder layer has experts; `mlp` describes its MLP."""
    if any(name.rsplit(".", 1)[-1] in _EXPERTS for name, _ in layer.named_modules()):
        raise UsageError(
            f"mixture of experts ({mlp}): its neurons have no single mlp.hook_post",
            where=where,
            next_step="Use a dense model; see `python -m neuron_signatures.models --list`",
        )


def pad_batch(prompts: Sequence[Sequence[int]], *, device: torch.device) -> Batch:
    """Prompts as one right-padded batch. Values at padded positions are meaningless; slice them off."""
    longest = max(len(ids) for ids in prompts)
    input_ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in prompts], device=device)
    if all(len(ids) == longest for ids in prompts):
        return Batch(input_ids, None)
    lengths = torch.tensor([len(ids) for ids in prompts], device=device)
    return Batch(input_ids, (torch.arange(longest, device=device) < lengths[:, None]).long())


class Capture(ABC):
    """Runs forward passes and captures the activations of the chosen layers (None: all layers).

        with MlpCapture(hf) as capture:
            acts = capture.run(input_ids, attention_mask)

    Hooks are registered on entry and removed on exit, also after an error. `name` is the model's in messages.
    """

    def __init__(self, shape: MlpShape, layers: Sequence[int] | None, name: str) -> None:
        self.shape = shape
        self.layers = tuple(range(shape.n_layers) if layers is None else layers)
        if len(set(self.layers)) != len(self.layers) or not set(self.layers) <= set(range(shape.n_layers)):
            raise UsageError(f"layers must be distinct and in 0..{shape.n_layers - 1}, got {self.layers}")
        self._name = name
        self._hooks: ExitStack | None = None
        self._take: Sink | None = None

    def __enter__(self) -> Capture:
        self._hooks = ExitStack()
        self._hooks.enter_context(self._hooked())
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._hooks is not None
        self._hooks.close()
        self._hooks = None

    def run(
        self,
        input_ids: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        sink: Sink | None = None,
    ) -> list[Float[Tensor, "batch pos neuron"]]:
        """One tensor per chosen layer, in the model's dtype and on that layer's device, not copied.

        With a `sink`, each tensor is passed to sink(row in `layers`, tensor) as soon as it exists. Nothing is stored
        or returned, so one layer's activations are in memory at a time.

        `attention_mask` is 1 on tokens and 0 on padding, which must be on the right; without it every
        position is a token. Raises `UsageError` if a layer gives no tensor or one of another width.
        """
        assert self._hooks is not None, f"{type(self).__name__}.run needs `with {type(self).__name__}(...) as capture:`"
        if attention_mask is not None and bool(attention_mask.all()):
            attention_mask = None
        kept: dict[int, Tensor] = {}
        missing = set(range(len(self.layers)))

        def take(row: int, acts: Tensor) -> None:
            missing.discard(row)
            (sink or kept.__setitem__)(row, self._checked(row, acts, input_ids.shape))

        self._take = take
        try:
            with torch.inference_mode():
                self._forward(input_ids, attention_mask)
        finally:
            self._take = None
        for row in sorted(missing):
            self._checked(row, None, input_ids.shape)
        return [kept[row] for row in sorted(kept)]

    @abstractmethod
    def _hooked(self) -> AbstractContextManager[object]:
        """Within the block, each chosen layer calls `_give(row, activations)` in a forward pass."""

    @abstractmethod
    def _forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> None:
        """One forward pass."""

    def _give(self, row: int, acts: Tensor) -> None:
        if self._take is not None:
            self._take(row, acts)

    def _checked(self, row: int, acts: Tensor | None, batch_shape: torch.Size) -> Tensor:
        want = (*batch_shape, self.shape.d_mlp)
        if acts is not None and acts.ndim == 2:
            # OPT (transformers 5.23) flattens batch and positions before its MLP.
            acts = acts.unflatten(0, batch_shape) if acts.shape[0] == batch_shape.numel() else acts
        if acts is None or acts.shape != want:
            found = "nothing" if acts is None else f"shape {tuple(acts.shape)}"
            raise UsageError(
                f"the input of the MLP's output projection should have shape {want}, found {found}",
                where=f"layer {self.layers[row]} of {self._name}",
                next_step="This architecture is not supported",
            )
        return acts


class MlpCapture(Capture):
    """Captures from plain forward passes of a transformers model, without its unembedding. See `Capture`."""

    def __init__(self, hf: PreTrainedModel, layers: Sequence[int] | None = None) -> None:
        self._body = backbone(hf)
        super().__init__(mlp_shape(hf), layers, type(self._body).__name__)
        projections = output_projections(hf)
        self._modules = [projections[layer] for layer in self.layers]

    @contextmanager
    def _hooked(self) -> Iterator[None]:
        handles = [module.register_forward_pre_hook(self._hook(row)) for row, module in enumerate(self._modules)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, row: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _, args: self._give(row, args[0])

    def _forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> None:
        self._body(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)


def _projection(layer: nn.Module, index: int, d_model: int) -> nn.Module:
    where = f"layer {index} ({type(layer).__name__})"
    holders = [m for name in _HOLDERS if isinstance(m := getattr(layer, name, None), nn.Module)] or [layer]
    refuse_experts(layer, ", ".join(type(m).__name__ for m in holders), where=where)
    found = [m for holder in holders for m in _candidates(holder, d_model)]
    if len(found) != 1:
        children = ", ".join(
            f"{name} {linear_features(m) or type(m).__name__}"
            for holder in holders
            for name, m in holder.named_children()
        )
        raise UsageError(
            f"expected one MLP output projection into d_model {d_model}, found {len(found)} among: {children}",
            where=where,
            next_step="This architecture is not supported; see `python -m neuron_signatures.models --list`",
        )
    return found[0]


def _candidates(holder: nn.Module, d_model: int) -> list[nn.Module]:
    named = [m for name in _PROJECTIONS if isinstance(m := getattr(holder, name, None), nn.Module)]
    return [m for m in named if (shape := linear_features(m)) is not None and shape[1] == d_model]
