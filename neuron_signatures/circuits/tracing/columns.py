"""The neurons that are nodes, as columns of a table of edges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.circuits.types import NeuronAt


class Columns:
    """Which neurons of a layer are columns, and which column each is."""

    def __init__(self, columns: Sequence[NeuronAt]) -> None:
        assert len(set(columns)) == len(columns), "a column is there twice"
        of: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for i, (layer, pos, neuron) in enumerate(columns):
            of[layer].append((i, pos, neuron))
        self._of = {layer: torch.tensor(found).unbind(1) for layer, found in of.items()}

    def of(self, layer: int) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]] | None:
        """Column numbers, positions and neurons of a layer; None if it has no column."""
        found = self._of.get(layer)
        return None if found is None else (found[0], found[1], found[2])

    def take(
        self, edges: Float[Tensor, "row pos neuron"], layer: int, into: Float[Tensor, "all column"], index: Tensor
    ) -> Float[Tensor, "row pos"]:
        """Write a layer's edges at its columns into the rows `index` of `into`; return the sums over all others."""
        found = self.of(layer)
        if found is None:
            return edges.sum(-1).float().cpu()
        column, pos, neuron = found
        into[index[:, None], column] = edges[:, pos, neuron].float().cpu()
        others = edges.clone()
        others[:, pos, neuron] = 0
        return others.sum(-1).float().cpu()
