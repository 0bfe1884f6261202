"""The units that are steered: the most specific ones of each class and source, chosen by `compare` on half `find`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.results import table_name
from neuron_signatures.runs.skills.banks import SITES, Bank
from neuron_signatures.runs.skills.meta import AGAIN
from neuron_signatures.runs.skills.names import SKILLS, SPECIFIC
from neuron_signatures.runs.skills.reader import Skills
from neuron_signatures.runs.skills.tables import read_skill_table, refuse_other_collection

if TYPE_CHECKING:
    import pandas as pd


_COLUMNS = ("source", "site", "layer", "unit", "class", "rank")


@dataclass(frozen=True)
class Choice:
    """Which specific units: `top` of each class and source. None means all."""

    top: int
    sources: Collection[str] | None = None
    sites: Collection[str] | None = None
    layers: Collection[int] | None = None
    classes: Collection[str] | None = None


@dataclass(frozen=True)
class SpecificUnit:
    """A unit, and the class whose texts it should raise."""

    bank: Bank
    unit: int
    for_class: str
    rank: int

    @property
    def label(self) -> str:
        return self.bank.label(self.unit)


def specific_units(skills: Skills, choice: Choice) -> list[SpecificUnit]:
    """In order of class, source and rank.

    Raises `UsageError` if `compare` has not been run, or if nothing of the choice is in its table; `BadRunError` if its
    table is missing, damaged or about an earlier collection, and for units that were not collected.
    """
    refuse_other_collection(skills.run_dir, "compare", skills.meta)
    frame = read_skill_table(skills.run_dir, SPECIFIC, columns=_COLUMNS)
    path = skills.run_dir / SKILLS / table_name(SPECIFIC)
    _refuse_unknown(skills, frame, choice)
    found = [_unit(skills, row, path) for row in _chosen(frame, choice).to_dict("records")]
    if not found:
        what = "no specific unit of the sources, sites, layers and classes that were asked for"
        raise UsageError(what, where=str(path), next_step="Ask for others")
    return found


def _chosen(frame: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    for column, wanted in (("source", choice.sources), ("site", choice.sites), ("layer", choice.layers),
                           ("class", choice.classes)):  # fmt: skip
        if wanted is not None:
            frame = frame[frame[column].isin(set(wanted) | ({"neuron"} if column == "site" else set()))]
    order = frame.sort_values(["class", "source", "rank", "layer", "unit"], kind="stable")
    return order.groupby(["class", "source"], sort=False).head(choice.top)


def _unit(skills: Skills, row: dict[str, Any], where: Path) -> SpecificUnit:
    bank = skills.bank(row["source"], row["site"], int(row["layer"]))
    if not 0 <= row["unit"] < bank.width:
        raise BadRunError(
            f"names unit {row['unit']} of {bank.key}, which has {bank.width}", where=str(where), next_step=AGAIN
        )
    return SpecificUnit(bank, int(row["unit"]), row["class"], int(row["rank"]))


def _refuse_unknown(skills: Skills, frame: pd.DataFrame, choice: Choice) -> None:
    """Raise `UsageError` for sources, sites, layers and classes that are not in the table."""
    for column, wanted in (("source", choice.sources), ("site", choice.sites), ("layer", choice.layers),
                           ("class", choice.classes)):  # fmt: skip
        known = set(frame[column].unique()) | (set(SITES) if column == "site" else set())
        for name in sorted(set(wanted or ()) - known, key=str):
            have = ", ".join(map(str, sorted(known, key=str)))
            what = f"{column} {name} has no specific units; there are {have}"
            raise UsageError(what, where=str(skills.run_dir / SKILLS))
