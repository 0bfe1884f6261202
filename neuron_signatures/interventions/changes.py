"""Sets of changed activations: what one edited forward pass changes, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.interventions.edits import Edit


@dataclass(frozen=True)
class Changes:
    """Cells (layer, pos, neuron) and their new activations: factor · a + offset, where a is that of the edited pass.

    A cell occurs once. `factor` 0 sets a value, 1 adds one, -1 with offset 0 flips.
    """

    layer: Int[Tensor, " n"]
    pos: Int[Tensor, " n"]
    neuron: Int[Tensor, " n"]
    factor: Float[Tensor, " n"]
    offset: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.layer)

    def __getitem__(self, rows: slice | Int[Tensor, " m"] | list[int]) -> Changes:
        return Changes(self.layer[rows], self.pos[rows], self.neuron[rows], self.factor[rows], self.offset[rows])

    @property
    def is_nothing(self) -> bool:
        """Whether no activation is changed: every cell is 1 · a + 0."""
        return bool(((self.factor == 1) & (self.offset == 0)).all())

    def at(self, acts: Float[Tensor, "layer pos neuron"]) -> Float[Tensor, " n"]:
        """The values that `acts`, of all layers and positions, has in these cells."""
        return acts[self.layer, self.pos, self.neuron]

    def new_values(self, acts: Float[Tensor, "layer pos neuron"]) -> Float[Tensor, " n"]:
        """The new activations, if nothing before a cell has changed."""
        return changed(self.at(acts), self.factor, self.offset)

    def edits(self) -> list[Edit]:
        """The same changes as edits, one per layer, position and kind."""
        kinds = torch.where(self.factor == 0, 0, torch.where(self.factor == 1, 1, 2))
        groups: dict[tuple[int, int, int], list[int]] = {}
        for row, key in enumerate(zip(self.layer.tolist(), self.pos.tolist(), kinds.tolist(), strict=True)):
            groups.setdefault(key, []).append(row)
        found = []
        for (layer, pos, kind), rows in groups.items():
            neurons = tuple(self.neuron[rows].tolist())
            values = tuple((self.factor if kind == 2 else self.offset)[rows].tolist())
            name = ("set", "add", "scale")[kind]
            assert kind != 2 or not bool(self.offset[rows].any()), "a scaled cell has no offset"
            found.append(Edit(layer, neurons, (pos,), name, values))  # type: ignore[arg-type]
        return found


def changed(
    old: Float[Tensor, "..."], factor: Float[Tensor, " n"], offset: Float[Tensor, " n"]
) -> Float[Tensor, "..."]:
    """factor · old + offset, the last axis of `old` being that of the cells; `offset` itself where the factor is 0,
    also of values that are not finite."""
    return torch.where(factor == 0, offset, factor * old + offset)


def setting(
    layer: Int[Tensor, " n"], pos: Int[Tensor, " n"], neuron: Int[Tensor, " n"], values: Float[Tensor, " n"]
) -> Changes:
    """Changes that set each cell to its value."""
    return Changes(layer, pos, neuron, torch.zeros_like(values), values)


def joined(some: Sequence[Changes]) -> Changes:
    """All cells of `some`, which have none in common."""
    fields = zip(*((c.layer, c.pos, c.neuron, c.factor, c.offset) for c in some), strict=True)
    return Changes(*(torch.cat(f) for f in fields))
