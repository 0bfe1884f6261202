"""Doses, and how large a change a dose is.

| unit | edit | dose 1 is |
|---|---|---|
| feature, direction | add | the mean norm of its site over the texts of `find`, without the first position |
| neuron | add | its standard deviation over the sampled tokens of `find` |
| feature, neuron | clamp | its largest activation in the texts of `find` |

Control features and directions get the same dose, and control neurons that are added to a change of the same norm in
what is written, |change| · ‖W_out‖. Control units that are clamped get the same share of their own peak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from neuron_signatures.models.sites import Place
from neuron_signatures.runs.skills.banks import NEURONS, SAE, Bank
from neuron_signatures.skills.steer.edits import BankWeights, Change, EditKind
from neuron_signatures.skills.steer.units import BankFacts


@dataclass(frozen=True)
class Doses:
    """The doses of each kind of unit and edit, ascending."""

    vectors: tuple[float, ...]
    neurons: tuple[float, ...]
    peaks: tuple[float, ...]

    def of(self, bank: Bank, edit: EditKind) -> tuple[float, ...]:
        """Empty if the units of the bank have no such edit."""
        if edit == "clamp":
            return self.peaks if bank.source in (SAE, NEURONS) else ()
        return self.neurons if bank.source == NEURONS else self.vectors


@dataclass(frozen=True)
class Sizes:
    """How large the changes of a bank's units are: `norm` is the mean norm of the site, and `write` the norm of what
    each column writes per unit of its change: 0 for a unit that changes nothing."""

    facts: BankFacts
    norm: float
    write: Float64[np.ndarray, " column"]

    @property
    def usable(self) -> Bool[np.ndarray, " column"]:
        """Units that change something when they are raised."""
        return self.write > 0

    def change(self, unit: int, edit: EditKind, dose: float) -> Change:
        """What a dose does to a specific unit."""
        return self.control(unit, edit, dose, of=unit)

    def control(self, unit: int, edit: EditKind, dose: float, *, of: int) -> Change:
        """What the same dose does to a unit that is a control for unit `of`."""
        if edit == "clamp":
            value = dose * self.facts.peak[unit]
        elif self.facts.bank.source == NEURONS:
            value = dose * self.facts.std[of] * (1.0 if unit == of else self.write[of] / self.write[unit])
        else:
            value = dose * self.norm
        return Change(int(unit), edit, float(value))


def sizes_of(
    facts: BankFacts, weights: BankWeights, norms: Mapping[Place, float], write: Float64[np.ndarray, "layer neuron"]
) -> Sizes:
    """`write` are the norms of the output of every neuron."""
    bank = facts.bank
    if bank.source == NEURONS:
        return Sizes(facts, norms[weights.place], np.tile(write[bank.layer], 2))
    assert weights.rows is not None
    lengths = weights.rows.norm(dim=-1).double().cpu().numpy()
    return Sizes(facts, norms[weights.place], np.tile(lengths, bank.width // bank.n_units))
