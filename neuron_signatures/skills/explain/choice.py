"""Which units are explained: the most specific ones, those of a list, or all that were among the strongest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.meta import CollectMeta
from neuron_signatures.runs.skills.names import SPECIFIC
from neuron_signatures.runs.skills.reader import Skills
from neuron_signatures.runs.skills.tables import read_skill_table, refuse_other_collection
from neuron_signatures.runs.skills.units import Banks, Unit, read_units

_BANK = ["source", "site", "layer"]


@dataclass(frozen=True)
class UnitChoice:
    """None chooses all. `units` is the text of `--units`: a list or a file."""

    top: int
    units: str | None = None
    all_units: bool = False
    sources: Collection[str] | None = None
    sites: Collection[str] | None = None
    layers: Collection[int] | None = None
    classes: Collection[str] | None = None

    def settings(self) -> dict[str, Any]:
        named = "a list" if self.units else "features" if self.all_units else "specific"
        found: dict[str, Any] = {"units": named}
        if named == "specific":
            found["top"] = self.top
        for name in ("sources", "sites", "layers", "classes"):
            if (value := getattr(self, name)) is not None:
                found[name] = list(value)
        return found

    def allows(self, source: str, site: str, layer: int) -> bool:
        """Whether units of this bank are chosen. Sites are those of autoencoders and directions."""
        return (
            (self.sources is None or source in self.sources)
            and (self.sites is None or site in self.sites or site == "neuron")
            and (self.layers is None or layer in self.layers)
        )


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
    """The `top` first of each source and class, among the banks that are allowed."""
    refuse_other_collection(run_dir, "compare", collect)
    frame = read_skill_table(run_dir, SPECIFIC, columns=[*_BANK, "unit", "class", "rank"])
    if choice.classes is not None:
        if unknown := [c for c in choice.classes if c not in set(frame["class"])]:
            what = f"no class {unknown[0]!r}; there are {', '.join(sorted(set(frame['class'])))}"
            raise UsageError(what, where="--classes")
        frame = frame[frame["class"].isin(list(choice.classes))]
    allowed = frame[_BANK].drop_duplicates()
    allowed = allowed[[choice.allows(*row) for row in allowed.itertuples(index=False, name=None)]]
    frame = frame.merge(allowed, on=_BANK).sort_values(["source", "class", "rank"], kind="stable")
    frame = frame.groupby(["source", "class"], sort=False).head(choice.top)
    return _units(frame[[*_BANK, "unit"]].itertuples(index=False, name=None), banks)


def _strongest(run_dir: Path, choice: UnitChoice) -> tuple[Unit, ...]:
    """All units that are among the strongest of their bank at a token: those of the table `features`."""
    with Skills.open(run_dir) as skills:
        banks = [b for b in skills.banks if choice.allows(b.source, b.site, b.layer)]
        return tuple(Unit(b, int(column)) for b in banks for column in np.unique(skills.stats(b).topk.indices))


def _units(rows: Any, banks: Banks) -> tuple[Unit, ...]:
    found: dict[Unit, None] = {}
    for source, site, layer, column in rows:
        bank = banks.find(source, site, int(layer))
        if bank is None:
            raise UsageError(f"{source} {site} of layer {layer} is in a table, but was not collected")
        found[Unit(bank, int(column))] = None
    return tuple(found)
