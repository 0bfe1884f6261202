"""Activations of a text: of chosen neurons, of the strongest ones, and whole layers as tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.api.live import ActivationsAnswer, ActivationsRequest, LayerActs, NeuronActs, TopAct
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import MlpCapture
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.server.held import Held, Stop
from neuron_signatures.server.live.references import Moments, moments_of
from neuron_signatures.server.live.stopping import check
from neuron_signatures.server.live.tokens import (
    FIRST_POSITION,
    all_but_first,
    check_neuron,
    ids_of,
    layers_of,
    positions_of,
    refuse_long_answer,
    token_rows,
)

MAX_TENSOR_BYTES: Final = 256 << 20
"""Bytes of the tensors of one answer."""
_NUMBERS_OF_TOP: Final = 5


def activations(held: Held, request: ActivationsRequest, stop: Stop) -> ActivationsAnswer:
    """Activations of chosen neurons at all positions, the strongest neurons by position, and the size of each layer's.

    One forward pass. Values are those of the model's dtype as float32.
    """
    ids = ids_of(held, request)
    layers = layers_of(held, request.layers)
    for ref in request.neurons:
        check_neuron(held, ref.layer, ref.neuron, where="neurons")
    positions = positions_of(request.positions, len(ids), default=all_but_first(len(ids)))
    listed = len(request.neurons) * len(ids) + _NUMBERS_OF_TOP * request.top_k * len(positions)
    refuse_long_answer(listed + 2 * len(ids) + 4 * len(layers))
    moments = None
    if request.against_run is not None:
        moments = moments_of(held, request.against_run, layers, stop, where="against_run")
    check(stop)
    found = _Collected(request, positions, moments)
    every = sorted({*layers, *(ref.layer for ref in request.neurons)})
    _capture(held, ids, every, lambda layer, acts: found.add(layer, acts, summarise=layer in layers))
    return ActivationsAnswer(
        tokens=token_rows(held, ids),
        neurons=[NeuronActs(layer=r.layer, neuron=r.neuron, acts=found.rows[r]) for r in request.neurons],
        top=found.strongest(),
        layers=found.layers,
        ordered_by="act" if moments is None else "z",
        reference="" if moments is None else moments.source,
        warnings=_warnings(positions, layers, moments),
    )


def activations_tensor(held: Held, request: ActivationsRequest, stop: Stop) -> bytes:
    """The bytes of a safetensors file: `L{layer}` [pos neuron] for each layer, float32.

    Raises `UsageError` if the tensors have more than `MAX_TENSOR_BYTES`, and for fields that it does not use.
    """
    if request.neurons or request.against_run is not None:
        where = "neurons" if request.neurons else "against_run"
        raise UsageError("a tensor has all neurons of its layers, as they are", where=where, next_step="Leave it out")
    ids = ids_of(held, request)
    layers = layers_of(held, request.layers)
    positions = positions_of(request.positions, len(ids), default=range(len(ids)))
    size = 4 * len(layers) * len(positions) * held.shape.d_mlp
    if size > MAX_TENSOR_BYTES:
        what = f"{human_bytes(size)} of tensors, more than {human_bytes(MAX_TENSOR_BYTES)}"
        raise UsageError(what, next_step="Ask for fewer layers or positions at a time")
    check(stop)
    tensors: dict[str, Tensor] = {}
    _capture(held, ids, layers, lambda layer, acts: tensors.update({f"L{layer}": acts[positions]}))
    body: bytes = safetensors.torch.save(tensors, {"token_ids": json.dumps(ids), "positions": json.dumps(positions)})
    return body


def _capture(
    held: Held, ids: Sequence[int], layers: Sequence[int], take: Callable[[int, Float[Tensor, "pos neuron"]], None]
) -> None:
    """One forward pass; `take` gets the number and the activations of each layer, float32 on the CPU, one at a time."""
    work = work_on(held.model.hf, "the forward pass", ids)
    with memory_faults(work), MlpCapture(held.model.hf, layers) as capture:
        batch = torch.tensor([list(ids)], device=held.model.device)
        capture.run(batch, sink=lambda row, acts: take(layers[row], acts[0].float().cpu()))


def _warnings(positions: Sequence[int], layers: Sequence[int], moments: Moments | None) -> list[str]:
    found = [FIRST_POSITION] if 0 in positions else []
    if moments is not None:
        unknown = int(moments.mean[list(layers)].isnan().all(1).sum())
        if unknown:
            found.append(f"{unknown} layers are not in the run: their neurons are not listed")
    return found


class _Strongest(NamedTuple):
    """The strongest neurons of one layer at each position. `size` is -1 for a neuron that is not listed."""

    layer: int
    size: Float[Tensor, "pos k"]
    neuron: Int[Tensor, "pos k"]
    act: Float[Tensor, "pos k"]
    z: Float[Tensor, "pos k"]


@dataclass
class _Collected:
    """What the answer needs of each layer, so that one layer is looked at at a time."""

    request: ActivationsRequest
    positions: list[int]
    moments: Moments | None
    layers: list[LayerActs] = field(default_factory=list)
    rows: dict[object, list[float | None]] = field(default_factory=dict)
    _top: list[_Strongest] = field(default_factory=list)

    def add(self, layer: int, acts: Float[Tensor, "pos neuron"], *, summarise: bool) -> None:
        for ref in self.request.neurons:
            if ref.layer == layer:
                column = acts[:, ref.neuron]
                finite = column.isfinite().tolist()
                self.rows[ref] = [x if ok else None for x, ok in zip(column.tolist(), finite, strict=True)]
        if summarise:
            self.layers.append(_layer_acts(layer, acts))
            self._add_top(layer, acts)

    def strongest(self) -> list[TopAct]:
        """By position, the largest first; ties go to the lower layer."""
        if not self._top:
            return []
        top = self._top
        size = torch.cat([x.size for x in top], 1)
        layers = torch.cat([torch.full_like(x.neuron, x.layer) for x in top], 1)
        neurons, acts = torch.cat([x.neuron for x in top], 1), torch.cat([x.act for x in top], 1)
        zs = torch.cat([x.z for x in top], 1)
        order = size.sort(dim=1, descending=True, stable=True).indices[:, : self.request.top_k]
        columns = [x.gather(1, order).tolist() for x in (size, layers, neurons, acts, zs)]
        return [
            TopAct(pos=pos, layer=layer, neuron=neuron, act=act, z=None if self.moments is None else z)
            for pos, *rows in zip(self.positions, *columns, strict=True)
            for found, layer, neuron, act, z in zip(*rows, strict=True)
            if found >= 0
        ]

    def _add_top(self, layer: int, acts: Float[Tensor, "pos neuron"]) -> None:
        chosen = acts[self.positions]
        scores = chosen
        if self.moments is not None:
            scores = (chosen - self.moments.mean[layer]) / self.moments.std[layer]
        sizes = torch.where(scores.isfinite() & chosen.isfinite(), scores.abs(), -1.0)
        size, neurons = sizes.topk(min(self.request.top_k, sizes.shape[1]), dim=1)
        self._top.append(_Strongest(layer, size, neurons, chosen.gather(1, neurons), scores.gather(1, neurons)))


def _layer_acts(layer: int, acts: Float[Tensor, "pos neuron"]) -> LayerActs:
    values = acts[all_but_first(len(acts))]
    values = values[values.isfinite()]
    if not len(values):
        return LayerActs(layer=layer, mean_abs=None, max_abs=None, share_positive=None)
    sizes = values.abs()
    return LayerActs(
        layer=layer,
        mean_abs=float(sizes.mean(dtype=torch.float64)),
        max_abs=float(sizes.max()),
        share_positive=float((values > 0).double().mean()),
    )
