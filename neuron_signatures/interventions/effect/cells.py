"""The changed cells of an effect: which activations get which new value."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.choice.neurons import Chosen
from neuron_signatures.interventions.controls.random_sets import deltas
from neuron_signatures.interventions.effect.request import EffectKind
from neuron_signatures.runs.errors import UsageError


@dataclass(frozen=True)
class Cells:
    """The changes of all neurons; `of_neuron` says to which neuron of the list a cell belongs, in ascending order."""

    changes: Changes
    of_neuron: tuple[int, ...]

    def single(self, i: int, acts: Float[Tensor, "layer pos neuron"]) -> Changes:
        """The cells of one neuron, each a + delta.

        Alone, a neuron's cells keep their clean activations until they are edited, so this is the edit itself; a cell
        whose value does not change is exactly unchanged.
        """
        some = self.changes[bisect_left(self.of_neuron, i) : bisect_right(self.of_neuron, i)]
        return replace(some, factor=torch.ones_like(some.factor), offset=deltas(some, acts))


def make_cells(
    chosen: Sequence[Chosen],
    positions: Sequence[int],
    acts: Float[Tensor, "layer pos neuron"],
    *,
    kind: EffectKind,
    value: float | None,
    held: Float[Tensor, "layer pos neuron"] | None,
) -> Cells:
    """One cell per neuron and position. `held` has the new values of ablate and patch, for all positions.

    A pole counts as follows: added values have its sign, and other edits only apply where the activation has it.
    Raises `UsageError` if that leaves no cell.
    """
    rows = [(i, c.layer, pos, c.neuron) for i, c in enumerate(chosen) for pos in positions]
    of, layer, pos, neuron = (torch.tensor(column) for column in zip(*rows, strict=True))
    sign = torch.tensor([-1.0 if c.pole == "-" else 1.0 for c in chosen])[of]
    has_pole = torch.tensor([bool(c.pole) for c in chosen])[of]
    clean = acts[layer, pos, neuron]
    zeros, ones = torch.zeros_like(clean), torch.ones_like(clean)
    number = 0.0 if value is None else value
    if kind in ("ablate", "patch"):
        assert held is not None
        factor, offset = zeros, held[layer, pos, neuron]
    elif kind == "set":
        factor, offset = zeros, number * ones
    elif kind == "add":
        factor, offset = ones, number * sign
    else:
        factor, offset = (-1.0 if kind == "flip" else number) * ones, zeros
    changes = Changes(layer, pos, neuron, factor, offset)
    if kind != "add":
        applies = (~has_pole | (clean.sign() == sign)).nonzero()[:, 0]
        if not len(applies):
            names = ", ".join(c.label for c in chosen[:3])
            what = f"no activation of {names} has the sign of its pole at position(s) {', '.join(map(str, positions))}"
            raise UsageError(what, where="--neurons", next_step="Leave out the sign, or give other positions")
        changes, of = changes[applies], of[applies]
    return Cells(changes, tuple(of.tolist()))
