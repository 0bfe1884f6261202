"""Edits of activations, as forward hooks of transformer-lens.

    with bridge.hooks(fwd_hooks=fwd_hooks([Edit(3, (508,), (8,), "set", 0.0)])):
        logits = bridge(token_ids)

An edit replaces the activation a of some neurons of one layer at some positions (docs/api.md). It works in forward
passes over a whole prompt and in `bridge.generate`, with and without a cache of keys and values.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.models.capture import output_projections
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import HOOK_NAME

Kind = Literal["set", "ablate", "patch", "add", "flip", "scale", "direction"]
DirectionSite = Literal["res", "att", "mlp"]
_DIRECTION_HOOKS: dict[DirectionSite, str] = {
    "res": "blocks.{layer}.hook_resid_post",
    "att": "blocks.{layer}.attn.hook_z",
    "mlp": "blocks.{layer}.hook_mlp_out",
}
_WRITES = ("set", "ablate", "patch")

Values = float | tuple[float, ...] | tuple[tuple[float, ...], ...]
# (activations [batch pos neuron], the hook point) -> activations of the same shape
Hook = Callable[[Tensor, Any], Tensor]


@dataclass(frozen=True)
class Edit:
    """One change of the neurons `neurons` of `layer` at `positions`.

    | kind | new activation |
    |---|---|
    | set, ablate, patch | the value (three names for what the value is: a constant, a reference, another prompt's) |
    | add | a + value |
    | flip | -a; the values are not used |
    | scale | value · a |
    | direction | the tensor x of `site` becomes x + values; no neurons, as many values as x is wide |

    `site` is that of a direction: the layer's output (`res`, `hook_resid_post`), the heads' outputs before they are
    projected, flattened (`att`, `hook_z`), or what the MLP adds to the residual stream (`mlp`, `hook_mlp_out`).

    `positions` are non-negative; None means every position, in generation also those of new tokens. `values` is one
    number, one number per neuron, or one tuple per position with one number per neuron.
    """

    layer: int
    neurons: tuple[int, ...]
    positions: tuple[int, ...] | None
    kind: Kind
    values: Values = 0.0
    site: DirectionSite = "res"

    def __post_init__(self) -> None:
        where = f"Edit of layer {self.layer}"
        if self.kind not in get_args(Kind):
            raise UsageError(f"kind {self.kind!r} is none of {', '.join(get_args(Kind))}", where=where)
        if bool(self.neurons) == (self.kind == "direction"):
            what = "a direction has no neurons" if self.neurons else "no neurons"
            raise UsageError(what, where=where)
        if self.site not in get_args(DirectionSite) or (self.site != "res" and self.kind != "direction"):
            raise UsageError(f"site {self.site!r} is none of res, att, mlp of a direction", where=where)
        if self.layer < 0 or min(self.neurons, default=0) < 0 or len(set(self.neurons)) < len(self.neurons):
            raise UsageError("layer and neurons must be distinct numbers from 0", where=where)
        if self.positions is not None and (
            not self.positions or min(self.positions) < 0 or len(set(self.positions)) < len(self.positions)
        ):
            raise UsageError("positions must be distinct numbers from 0, or None for all", where=where)
        n_rows = 1 if self.positions is None else len(self.positions)
        shape = _shape(self.values)
        fits = {(), (len(self.neurons),), (n_rows, len(self.neurons))}
        if self.kind == "direction":
            fits = {shape} if len(shape) == 1 else set()
        if shape not in fits or not bool(torch.isfinite(torch.tensor(self.values)).all()):
            what = f"values must be finite, of shape () or [{len(self.neurons)}] or [{n_rows}, {len(self.neurons)}]"
            raise UsageError(what, where=where)


def fwd_hooks(edits: Sequence[Edit]) -> list[tuple[str, Hook]]:
    """Hooks for `bridge.hooks(fwd_hooks=...)`, one per layer and hook point; edits of one point apply in their order.

    The hooks count positions: a pass over several positions starts at position 0, and a pass over one position
    continues the pass before it, as generation with a cache does. So make new hooks for each prompt of one token.
    Batches must not be padded on the left. A pass that does not reach an edit's position leaves it out.
    """
    at: dict[str, list[Edit]] = defaultdict(list)
    for edit in edits:
        name = _DIRECTION_HOOKS[edit.site] if edit.kind == "direction" else HOOK_NAME
        at[name.format(layer=edit.layer)].append(edit)
    return [(name, _hook(some)) for name, some in at.items()]


@contextlib.contextmanager
def plain_hooks(hf: PreTrainedModel, edits: Sequence[Edit]) -> Iterator[None]:
    """Within the block, plain forward passes of `hf` over one text apply the edits, as those of `fwd_hooks` do.

    Directions are not edits of neurons, and are refused.
    """
    assert all(edit.kind != "direction" for edit in edits), "a direction needs a bridge"
    projections = output_projections(hf)
    by_layer: dict[int, list[Edit]] = defaultdict(list)
    for edit in edits:
        by_layer[edit.layer].append(edit)
    with contextlib.ExitStack() as stack:
        for layer, some in by_layer.items():
            if layer >= len(projections):
                raise UsageError(f"layer {layer} is not in 0..{len(projections) - 1}", where="Edit")
            handle = projections[layer].register_forward_pre_hook(_before_projection(_hook(some)))
            stack.callback(handle.remove)
        yield


def _before_projection(hook: Hook) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Tensor]]:
    # OPT (transformers 5.23) flattens batch and positions before its MLP: with one text, [pos neuron]
    return lambda _, args: (hook(args[0], None),)


def _hook(edits: Sequence[Edit]) -> Hook:
    next_pos = 0

    def hook(acts: Tensor, hook: Any) -> Tensor:
        nonlocal next_pos
        shape = acts.shape
        acts = acts.flatten(2) if acts.ndim == 4 else acts  # hook_z has an axis of heads
        n = acts.shape[-2]
        first = next_pos if n == 1 else 0
        next_pos = first + n
        for edit in edits:
            acts = _edited(acts, edit, first)
        return acts.reshape(shape)

    return hook


def _edited(acts: Tensor, edit: Edit, first: int) -> Tensor:
    """`acts` of the positions from `first` on, with one edit applied to a copy."""
    n, width = acts.shape[-2:]
    if max(edit.neurons, default=0) >= width:
        raise UsageError(f"neuron {max(edit.neurons)} is not in 0..{width - 1}", where=f"layer {edit.layer}")
    positions = range(first, first + n) if edit.positions is None else edit.positions
    inside = [(row, pos - first) for row, pos in enumerate(positions) if first <= pos < first + n]
    if not inside:
        return acts
    rows = torch.tensor([at for _, at in inside], device=acts.device)
    values = torch.tensor(edit.values, device=acts.device, dtype=acts.dtype)
    acts = acts.clone()
    if edit.kind == "direction":
        if values.shape[0] != width:
            raise UsageError(f"the direction has {values.shape[0]} values, not {width}", where=f"layer {edit.layer}")
        acts[..., rows, :] += values
        return acts
    if values.ndim == 2 and edit.positions is not None:
        values = values[[row for row, _ in inside]]
    cells = (..., rows[:, None], torch.tensor(edit.neurons, device=acts.device))
    if edit.kind in _WRITES:
        acts[cells] = values.expand_as(acts[cells])
    elif edit.kind == "add":
        acts[cells] += values
    else:
        acts[cells] *= -1.0 if edit.kind == "flip" else values
    return acts


def _shape(values: Values) -> tuple[int, ...]:
    try:
        return tuple(torch.tensor(values).shape)
    except (ValueError, TypeError) as e:
        raise UsageError(f"values are not numbers of one shape ({e})", where="Edit") from e
