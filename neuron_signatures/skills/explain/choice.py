"""Which units are explained: the most specific ones, those of a list, or all that were among the strongest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.meta import CollectMeta
from neuron_signatures.runs.skills.reader import Skills
from neuron_signatures.runs.skills.units import Banks, Unit, read_units
from neuron_signatures.skills.specific import SpecificChoice, first_units, specific_table


@dataclass(frozen=True)
class UnitChoice(SpecificChoice):
    """`units` is the text of `--units`, a list or a file; it and `all_units` replace the most specific units."""

    units: str | None = None
    all_units: bool = False

    def settings(self) -> dict[str, Any]:
        named = "a list" if self.units else "features" if self.all_units else "specific"
        found: dict[str, Any] = {"units": named}
        if named == "specific":
            found["top"] = self.top
        for name in ("sources", "sites", "layers", "classes"):
            if (value := getattr(self, name)) is not None:
                found[name] = list(value)
        return found


def chosen_units(run_dir: Path, collect: CollectMeta, choice: UnitChoice) -> tuple[Unit, ...]:
    """The units, by class and rank, as listed, or by bank. Raises `UsageError` if there are none."""
    banks = Banks(record.bank for record in collect.banks)
    if choice.units is not None:
        units = read_units(choice.units, banks)
    elif choice.all_units:
        units = _strongest(run_dir, choice)
    else:
        units = _specific(run_dir, collect, banks, choice)
    kept = tuple(u for u in units if choice.allows(u.bank.source, u.bank.site, u.bank.layer))
    if not kept:
        what = "no unit is chosen"
        raise UsageError(what, where=str(run_dir), next_step="Give fewer of --sources, --sites, --layers and --classes")
    return kept


def _specific(run_dir: Path, collect: CollectMeta, banks: Banks, choice: UnitChoice) -> tuple[Unit, ...]:
    frame = specific_table(run_dir, collect)
    if unknown := [c for c in choice.classes or () if c not in set(frame["class"])]:
        what = f"no class {unknown[0]!r}; there are {', '.join(sorted(set(frame['class'])))}"
        raise UsageError(what, where="--classes")
    return tuple(dict.fromkeys(Unit(u.bank, u.unit) for u in first_units(frame, banks, choice, run_dir)))


def _strongest(run_dir: Path, choice: UnitChoice) -> tuple[Unit, ...]:
    """All units that are among the strongest of their bank at a token: those of the table `features`."""
    with Skills.open(run_dir) as skills:
        banks = [b for b in skills.banks if choice.allows(b.source, b.site, b.layer)]
        return tuple(Unit(b, int(column)) for b in banks for column in np.unique(skills.stats(b).topk.indices))
