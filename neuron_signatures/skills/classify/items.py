"""What is rated: the explained units, each with its own class, and the pairs of an explanation and a class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.skills.meta import CollectMeta
from neuron_signatures.runs.skills.names import SKILLS, SPECIFIC, UNIT_EXPLANATIONS, record_name
from neuron_signatures.runs.skills.tables import read_skill_table, refuse_other_collection
from neuron_signatures.runs.skills.units import Banks, Unit
from neuron_signatures.skills.explain.choice import UnitChoice

Pairs = Literal["all", "own"]
_UNIT = ["source", "site", "layer", "unit"]
_AUROCS = ["class", "auroc", "held_out_auroc", "held_out_low", "held_out_high"]


class Measured(NamedTuple):
    """The AUROC of a unit for a class on the held-out half, with its 95 % interval; NaN where undefined."""

    auroc: float
    low: float
    high: float


@dataclass(frozen=True)
class ExplainedUnit:
    """`own_class` is that with the largest AUROC on `find`; None if it is not known."""

    unit: Unit
    explanation: str
    own_class: str | None = None
    measured: Mapping[str, Measured] = field(default_factory=dict, hash=False)
    """By class."""


@dataclass(frozen=True)
class Pair:
    """An explanation and a class. `of` is whose explanation it is: the unit's own, or in a control another unit's."""

    unit: ExplainedUnit
    of: ExplainedUnit
    name: str
    """Of the class."""

    @property
    def is_control(self) -> bool:
        return self.of.unit != self.unit.unit


def explained_units(run_dir: Path, collect: CollectMeta, choice: UnitChoice) -> tuple[ExplainedUnit, ...]:
    """The units with an explanation, each with its best one, in the order of the table.

    Raises `UsageError` if `explain` has not been run, or no unit is left.
    """
    refuse_other_collection(run_dir, "explain", collect)
    banks = Banks(record.bank for record in collect.banks)
    frame = read_skill_table(run_dir, UNIT_EXPLANATIONS, columns=[*_UNIT, "explanation", "status"])
    texts: dict[Unit, str] = {}
    for source, site, layer, column, text, status in frame.itertuples(index=False, name=None):
        bank = banks.find(source, site, int(layer))
        if bank is not None and status == "ok" and choice.allows(source, site, int(layer)):
            texts.setdefault(Unit(bank, int(column)), text)
    if not texts:
        what = "no unit has an explanation"
        next_step = "Give more to --mode explain, or fewer of --sources, --sites and --layers"
        raise UsageError(what, where=str(run_dir), next_step=next_step)
    find, held_out = _measured(run_dir, collect, texts)
    return tuple(
        ExplainedUnit(unit, text, _best(find.get(unit, {})), held_out.get(unit, {})) for unit, text in texts.items()
    )


def pairs_of(units: Sequence[ExplainedUnit], classes: Sequence[str], which: Pairs) -> list[Pair]:
    """Every explanation with every class, or only with the unit's own one. Raises `UsageError` if there are none."""
    if which == "all":
        return [Pair(unit, unit, name) for unit in units for name in classes]
    found = [Pair(unit, unit, unit.own_class) for unit in units if unit.own_class in classes and unit.own_class]
    if not found:
        what = "no unit has a class of its own"
        raise UsageError(what, where="--pairs own", next_step="Run --mode compare, or choose --pairs all")
    return found


def shuffled_pairs(pairs: Sequence[Pair], rng: np.random.Generator) -> list[Pair]:
    """For each unit's own class the explanation of a drawn unit of another class, of the same source if there is one.

    Units of which no other class has an explanation have none.
    """
    found = []
    for pair in pairs:
        if pair.name != pair.unit.own_class:
            continue
        others = [p.unit for p in pairs if p.unit.own_class not in (None, pair.name)]
        same = [u for u in others if u.unit.bank.source == pair.unit.unit.bank.source]
        if candidates := same or others:
            found.append(Pair(pair.unit, candidates[int(rng.integers(len(candidates)))], pair.name))
    return found


def class_texts(collect: CollectMeta, given: Mapping[str, str] | None) -> dict[str, str]:
    """The description of each class: by default the names of its skills. Raises `UsageError` for unknown classes."""
    found = {
        name: ", ".join(s for s in sorted(skills) if s) or name for name, skills in sorted(collect.classes.items())
    }
    for name, text in (given or {}).items():
        if name not in found:
            what = f"there is no class {name[:60]!r}; there are {', '.join(found)}"
            raise UsageError(what, where="--class_descriptions")
        found[name] = text
    return found


def _measured(
    run_dir: Path, collect: CollectMeta, units: Mapping[Unit, str]
) -> tuple[dict[Unit, dict[str, float]], dict[Unit, dict[str, Measured]]]:
    """AUROC on `find`, and on the held-out half; both empty if `compare` has not been run."""
    import pandas as pd

    find: dict[Unit, dict[str, float]] = {}
    held_out: dict[Unit, dict[str, Measured]] = {}
    if not inside(run_dir, f"{SKILLS}/{record_name('compare')}").is_file():
        return find, held_out
    refuse_other_collection(run_dir, "compare", collect)
    by_row = {(u.bank.source, u.bank.site, u.bank.layer, u.column): u for u in units}
    wanted = pd.DataFrame(list(by_row), columns=_UNIT)
    frame = read_skill_table(run_dir, SPECIFIC, columns=[*_UNIT, *_AUROCS]).merge(wanted, on=_UNIT)
    for source, site, layer, column, name, auroc, *held in frame.itertuples(index=False, name=None):
        unit = by_row[source, site, int(layer), int(column)]
        find.setdefault(unit, {})[name] = float(auroc)
        held_out.setdefault(unit, {})[name] = Measured(*map(float, held))
    return find, held_out


def _best(aurocs: Mapping[str, float]) -> str | None:
    """The class with the largest value, the first by name of equal ones."""
    defined = {name: value for name, value in aurocs.items() if not math.isnan(value)}
    return max(sorted(defined), key=lambda name: defined[name]) if defined else None
