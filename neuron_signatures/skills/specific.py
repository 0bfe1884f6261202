"""The most specific units of each class and source, as `compare` chose them on half `find`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.results import table_name
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.meta import AGAIN, CollectMeta
from neuron_signatures.runs.skills.names import SKILLS, SPECIFIC
from neuron_signatures.runs.skills.tables import read_skill_table, refuse_other_collection
from neuron_signatures.runs.skills.units import Banks

if TYPE_CHECKING:
    import pandas as pd

_BANK = ["source", "site", "layer"]


@dataclass(frozen=True)
class SpecificChoice:
    """Which specific units: `top` of each class and source. None means all."""

    top: int
    sources: Collection[str] | None = None
    sites: Collection[str] | None = None
    layers: Collection[int] | None = None
    classes: Collection[str] | None = None

    def allows(self, source: str, site: str, layer: int) -> bool:
        """Whether units of this bank are chosen. Sites are those of autoencoders and directions."""
        return (
            (self.sources is None or source in self.sources)
            and (self.sites is None or site in self.sites or site == "neuron")
            and (self.layers is None or layer in self.layers)
        )


@dataclass(frozen=True)
class SpecificUnit:
    """A unit, and the class for which it is specific."""

    bank: Bank
    unit: int
    for_class: str
    rank: int

    @property
    def label(self) -> str:
        return self.bank.label(self.unit)


def specific_table(run_dir: Path, collect: CollectMeta) -> pd.DataFrame:
    """Source, site, layer, unit, class and rank of all specific units.

    Raises `UsageError` if `compare` has not been run, `BadRunError` if its table is missing, damaged or about an
    earlier collection.
    """
    refuse_other_collection(run_dir, "compare", collect)
    return read_skill_table(run_dir, SPECIFIC, columns=[*_BANK, "unit", "class", "rank"])


def first_units(
    frame: pd.DataFrame, banks: Iterable[Bank], choice: SpecificChoice, run_dir: Path
) -> list[SpecificUnit]:  # fmt: skip
    """The first of each class and source in a `specific_table`, in order of class, source and rank; possibly none.

    Raises `BadRunError` for a unit that was not collected.
    """
    known = Banks(banks)
    if choice.classes is not None:
        frame = frame[frame["class"].isin(list(choice.classes))]
    allowed = frame[_BANK].drop_duplicates()
    allows = [choice.allows(*row) for row in allowed.itertuples(index=False, name=None)]
    allowed = allowed[np.array(allows, bool)]
    frame = frame.merge(allowed, on=_BANK).sort_values(["class", "source", "rank", "layer", "unit"], kind="stable")
    frame = frame.groupby(["class", "source"], sort=False).head(choice.top)
    rows = frame[[*_BANK, "unit", "class", "rank"]].itertuples(index=False, name=None)
    where = str(run_dir / SKILLS / table_name(SPECIFIC))
    return [_unit(known, where, *row) for row in rows]


def _unit(
    banks: Banks, where: str, source: str, site: str, layer: int, unit: int, of_class: str, rank: int
) -> SpecificUnit:
    bank = banks.find(source, site, int(layer))
    if bank is None:
        what = f"names units of {source} {site} in layer {layer}, which were not collected"
        raise BadRunError(what, where=where, next_step=AGAIN)
    if not 0 <= unit < bank.width:
        raise BadRunError(f"names unit {unit} of {bank.key}, which has {bank.width}", where=where, next_step=AGAIN)
    return SpecificUnit(bank, int(unit), of_class, int(rank))
