"""Plain forward passes in which the tensor of one site of a layer is replaced (`Site` names the hook points).

    with site_edited(hf, Place("res", 3), edit):
        out = backbone(hf)(input_ids=ids, use_cache=False)

`edit(values, first)` gets the site's tensor [batch pos width] and the position of its first column, and returns one of
the same shape. A pass over several positions starts at position 0; one over a single position continues the pass before
it, as generation with a cache does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.models.capture import backbone, decoder_layers, output_projections
from neuron_signatures.models.norms import is_norm
from neuron_signatures.models.sites import Place, attention_out

SiteEdit = Callable[[Tensor, int], Tensor]


@contextlib.contextmanager
def site_edited(hf: PreTrainedModel, place: Place, edit: SiteEdit) -> Iterator[None]:
    """Within the block, forward passes of the model have `edit(values, first)` at this place.

    Finding the output of an MLP takes a forward pass over two tokens.
    """
    shape: list[tuple[int, int, int]] = []  # batch, positions, and the first position

    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"] if kwargs.get("input_ids") is not None else args[0]
        batch, n = ids.shape
        first = shape[0][2] + shape[0][1] if shape and n == 1 else 0
        shape[:] = [(batch, n, first)]

    def changed(values: Tensor) -> Tensor:
        batch, n, first = shape[0]
        # OPT (transformers 5.23) flattens batch and positions before its MLP.
        return edit(values.reshape(batch, n, -1), first).reshape(values.shape)

    with contextlib.ExitStack() as stack:
        module = _module(hf, place)
        stack.enter_context(backbone(hf).register_forward_pre_hook(begin, with_kwargs=True))
        if place.site in ("att", "neuron"):
            stack.enter_context(module.register_forward_pre_hook(lambda _, args: (changed(args[0]), *args[1:])))
        else:
            stack.enter_context(module.register_forward_hook(lambda _, __, out: _with_first(out, changed)))
        yield


@contextlib.contextmanager
def layers_return(layers: Sequence[nn.Module], out: Tensor) -> Iterator[None]:
    """Within the block, these first layers of a model are not run: each returns `out`, the output of the last one."""
    # accelerate, which spreads a model over several devices, has put its own `forward` on the layers
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = lambda *_, **__: out
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            if forward is None:
                del layer.forward  # the method of the class again
            else:
                layer.forward = forward


def _module(hf: PreTrainedModel, place: Place) -> nn.Module:
    """The module whose output (`res`, `mlp`) or input (`att`, `neuron`) is the site."""
    if place.site == "res":
        return decoder_layers(hf)[place.layer]
    if place.site == "att":
        return attention_out(hf, place.layer)
    projection = output_projections(hf)[place.layer]
    return projection if place.site == "neuron" else _norm_after(hf, place.layer, projection) or projection


@torch.no_grad()
def _norm_after(hf: PreTrainedModel, layer: int, projection: nn.Module) -> nn.Module | None:
    """The norm of the layer whose input is the projection's output (Gemma-2, Gemma-3); None in other models."""
    outputs: list[Tensor] = []
    norms: list[nn.Module] = []

    def see(norm: nn.Module, args: tuple[Any, ...]) -> None:
        if outputs and args[0].data_ptr() == outputs[0].data_ptr() and args[0].shape == outputs[0].shape:
            norms.append(norm)

    with contextlib.ExitStack() as stack:
        stack.enter_context(projection.register_forward_hook(lambda _, __, out: outputs.append(out)))
        for norm in filter(is_norm, decoder_layers(hf)[layer].children()):
            stack.enter_context(norm.register_forward_pre_hook(see))
        device = hf.get_input_embeddings().weight.device
        backbone(hf)(input_ids=torch.zeros(1, 2, dtype=torch.long, device=device), use_cache=False)
    assert len(norms) <= 1
    return norms[0] if norms else None


def _with_first(out: Any, changed: Callable[[Tensor], Tensor]) -> Any:
    return (changed(out[0]), *out[1:]) if isinstance(out, tuple) else changed(out)
