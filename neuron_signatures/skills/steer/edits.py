"""Changes of one unit, and a forward pass over many rows with another change in each.

| unit | `add` | `clamp` |
|---|---|---|
| feature | x + value · d, d the decoder row at the feature's site, of norm 1 | x + (value - f) · W_dec[f] |
| direction | x + value · d, d the direction, of norm 1 | |
| neuron | a + value | value |

x is the tensor of the site and f the feature's activation there: clamping keeps the part of x that the autoencoder does
not reconstruct. Values are in units of activation, or of length for features and directions that are added; those of
the negative pole of a neuron or direction count downwards. A change holds at every position but the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.models.saes.sae import Sae
from neuron_signatures.models.sites import Place
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import NEURONS, Bank

EditKind = Literal["add", "clamp"]
EDITS: Final[tuple[EditKind, ...]] = get_args(EditKind)


@dataclass(frozen=True, order=True)
class Change:
    """One unit (a column of its bank) and what is done to it."""

    unit: int
    edit: EditKind
    value: float


@dataclass(frozen=True, eq=False)
class BankWeights:
    """What changing the units of a bank needs. `rows` are the directions of its units in the site, or of the features'
    decoder; None for neurons. `sae` is None but for features."""

    bank: Bank
    rows: Float[Tensor, "unit width"] | None
    sae: Sae | None = None

    @property
    def place(self) -> Place:
        return Place(self.bank.site, self.bank.layer)

    def direction(self, unit: int) -> Float[Tensor, " width"]:
        """The direction of a feature or direction, of norm 1, with the sign of the pole.

        Raises `UsageError` for one that is zero.
        """
        assert self.rows is not None
        row = self.rows[unit % self.bank.n_units].float()
        norm = row.norm()
        if not norm > 0:
            raise UsageError("its direction is zero", where=self.bank.label(unit))
        direction: Tensor = row / (norm * self.sign(unit))
        return direction

    def sign(self, unit: int) -> int:
        """-1 for the negative pole of a neuron or direction."""
        return -1 if unit >= self.bank.n_units else 1


class RowChanges:
    """Applies change i to row i of the tensor of the bank's site, at every position but the first of the text."""

    def __init__(self, weights: BankWeights, changes: Sequence[Change]) -> None:
        kinds = {c.edit for c in changes}
        assert len(kinds) == 1, "the changes of a pass are of one kind"
        self._weights, self._edit = weights, kinds.pop()
        self._changes = tuple(changes)

    def repeated(self, times: int) -> RowChanges:
        """Each change in that many consecutive rows."""
        return RowChanges(self._weights, [c for c in self._changes for _ in range(times)])

    def __call__(self, values: Float[Tensor, "row pos width"], first: int) -> Float[Tensor, "row pos width"]:
        start = 1 if first == 0 else 0
        part = values[:, start:].float()
        if self._weights.bank.source == NEURONS:
            new = self._on_neurons(part)
        elif self._edit == "add":
            new = part + self._vectors(values.device)[:, None]
        else:
            new = self._clamped(part)
        return torch.cat([values[:, :start], new.to(values.dtype)], dim=1)

    def _on_neurons(self, acts: Float[Tensor, "row pos width"]) -> Float[Tensor, "row pos width"]:
        new, row = acts.clone(), torch.arange(len(acts), device=acts.device)
        neuron = self._units(acts.device) % self._weights.bank.n_units
        signs = torch.tensor([self._weights.sign(c.unit) for c in self._changes], device=acts.device)
        value = (signs * self._values(acts.device))[:, None]
        if self._edit == "add":
            new[row, :, neuron] += value
        else:
            new[row, :, neuron] = value.expand(-1, acts.shape[1])
        return new

    def _clamped(self, x: Float[Tensor, "row pos width"]) -> Float[Tensor, "row pos width"]:
        sae = self._weights.sae
        assert sae is not None, "only features and neurons are clamped"
        unit = self._units(x.device)
        now = sae.encode(x)[torch.arange(len(x), device=x.device), :, unit]
        return x + (self._values(x.device)[:, None] - now)[..., None] * sae.W_dec[unit][:, None]

    def _units(self, device: torch.device) -> Int[Tensor, " row"]:
        return torch.tensor([c.unit for c in self._changes], device=device)

    def _values(self, device: torch.device) -> Float[Tensor, " row"]:
        return torch.tensor([c.value for c in self._changes], device=device)

    def _vectors(self, device: torch.device) -> Float[Tensor, "row width"]:
        return torch.stack([c.value * self._weights.direction(c.unit) for c in self._changes]).to(device)
