"""Which changes are measured: every specific unit and its controls, at every dose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.skills.specific import SpecificUnit
from neuron_signatures.skills.steer.controls import ROLES, Controls, Role
from neuron_signatures.skills.steer.doses import Doses, Sizes
from neuron_signatures.skills.steer.edits import BankWeights, Change, EditKind


class Case(NamedTuple):
    """A specific unit at one dose of one edit."""

    specific: SpecificUnit
    edit: EditKind
    dose: float


class Group(NamedTuple):
    """Changes that are measured together: of one bank and kind."""

    bank: Bank
    edit: EditKind
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Plan:
    """Units, with what is needed to change them."""

    units: tuple[SpecificUnit, ...]
    edits: tuple[EditKind, ...]
    doses: Doses
    weights: Mapping[Bank, BankWeights]
    sizes: Mapping[Bank, Sizes]
    controls: Mapping[tuple[Bank, int], Controls]

    def cases(self) -> Iterator[Case]:
        for specific in self.units:
            for edit in self.edits:
                for dose in self.doses.of(specific.bank, edit):
                    yield Case(specific, edit, dose)

    def change(self, case: Case) -> Change:
        """The change of the specific unit itself."""
        return self.sizes[case.specific.bank].change(case.specific.unit, case.edit, case.dose)

    def controls_of(self, case: Case, role: Role) -> list[Change]:
        """The changes of its control units, in order of drawing or of similarity."""
        unit, sizes = case.specific.unit, self.sizes[case.specific.bank]
        columns = self.controls[case.specific.bank, unit].of(role)
        return [sizes.control(int(i), case.edit, case.dose, of=unit) for i in columns]

    def groups(self, *, controls: bool) -> list[Group]:
        """Each change once, however many units it is a control for; ordered by layer."""
        found: dict[tuple[Bank, EditKind], dict[Change, None]] = {}
        for case in self.cases():
            changes = found.setdefault((case.specific.bank, case.edit), {})
            changes[self.change(case)] = None
            for role in ROLES if controls else ():
                changes |= dict.fromkeys(self.controls_of(case, role))
        order = sorted(found, key=lambda key: (key[0].layer, key[0], key[1]))
        return [Group(bank, edit, tuple(found[bank, edit])) for bank, edit in order]
