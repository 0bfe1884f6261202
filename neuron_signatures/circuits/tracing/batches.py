"""Derivatives of many rows in batches, from the graph of one forward pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.circuits.tracing.passes import Pass
from neuron_signatures.circuits.types import Row
from neuron_signatures.models.batching import BatchSize, run_in_halves, work_on
from neuron_signatures.models.capture import mlp_shape

DEFAULT_MEMORY: Final = 256 * 2**20
"""Bytes that the derivatives of one batch may take."""
_MOST_ROWS: Final = 32
"""More are not faster on two cores, and take more memory."""


class Derivatives(NamedTuple):
    """Of a batch of rows, all in one layer. `numbers` says which rows; `outputs` ends below their layer."""

    numbers: list[int]
    layer: int
    """The rows' layer; the number of layers for the target."""
    outputs: list[Float[Tensor, "row pos d_model"]]
    """Per layer, by the output of the MLP's projection."""
    embeddings: Float[Tensor, "row pos"]
    """By the scale of the embedding: what the embedding contributes."""
    biases: Float[Tensor, "row layer pos"]
    """By the scale of the biases, for all layers."""


def derivatives(found: Pass, rows: Sequence[Row], *, memory: int = DEFAULT_MEMORY) -> Iterator[Derivatives]:
    """The derivatives of `rows`, batched by layer, lowest layer first.

    `memory` is in bytes; the largest allocation is one batch's derivatives by the outputs of one layer's neurons.
    """
    by_layer: dict[int, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        by_layer[found.n_layers if row is None else row.layer].append(i)
    work = work_on(found.problem.hf, "tracing edges", found.problem.token_ids)
    for layer, index in sorted(by_layer.items()):
        chosen = [rows[i] for i in index]
        if layer == found.n_layers:
            chosen, index = [None], index[:1]
        live = found.rows(chosen)

        def run(some: Sequence[int], layer: int = layer, index: list[int] = index, live: Tensor = live) -> Derivatives:
            return _pull(found, [index[i] for i in some], layer, live, some)

        size = BatchSize(rows_at_once(found, memory))
        yield from run_in_halves(run, range(len(chosen)), size=size, unit="rows", work=lambda _: work)


def rows_at_once(found: Pass, memory: int) -> int:
    """Rows whose derivatives take about `memory` bytes: by every layer's output, and one layer's neurons."""
    d_model = found.problem.hf.config.get_text_config().hidden_size
    shape = mlp_shape(found.problem.hf)
    width = (shape.n_layers + 8) * d_model + 6 * shape.d_mlp
    bytes_of_row: int = width * found.n_pos * found.value.element_size()
    return max(1, min(_MOST_ROWS, memory // bytes_of_row))


def pull(live: Float[Tensor, " row"], sources: Sequence[Tensor], some: Sequence[int]) -> tuple[Tensor, ...]:
    """The derivatives of the rows `some` by each source, `[row, *source]`; 0 without a path. The graph is kept."""
    each = torch.eye(len(live), dtype=live.dtype, device=live.device)[list(some)]
    grads = torch.autograd.grad(live, sources, each, retain_graph=True, is_grads_batched=True, allow_unused=True)
    return tuple(x.new_zeros(len(some), *x.shape) if g is None else g for g, x in zip(grads, sources, strict=True))


def _pull(found: Pass, numbers: list[int], layer: int, live: Tensor, some: Sequence[int]) -> Derivatives:
    sources = [*found.outputs[:layer], found.scales.embedding, *found.scales.biases[: layer + 1]]
    grads = pull(live, sources, some)
    outputs = [g.view(len(some), found.n_pos, -1) for g in grads[:layer]]
    biases = torch.zeros(len(some), found.n_layers, found.n_pos)
    for i, g in enumerate(grads[layer + 1 :]):
        biases[:, i] = g.cpu()
    return Derivatives(numbers, layer, outputs, grads[layer].cpu(), biases)
