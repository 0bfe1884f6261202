"""Units by name: `L3N508+`, `res L3F12` and `pca res L3D12-` as tables and flags write them, and the bank of each."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import SMALL_BYTES, read_text_input
from neuron_signatures.runs.skills.banks import NEURONS, SAE, Bank

_NEURON: Final = re.compile(r"L(\d{1,5})N(\d{1,9})([+-])", re.ASCII)
_FEATURE: Final = re.compile(r"(res|att|mlp) L(\d{1,5})F(\d{1,9})", re.ASCII)
_DIRECTION: Final = re.compile(r"([a-z][a-z0-9_]{0,31}) (res|att|mlp|neuron) L(\d{1,5})D(\d{1,9})([+-])", re.ASCII)


class UnitName(NamedTuple):
    """What a label says. `number` counts features, neurons or directions; `pole` is empty for features."""

    source: str
    site: str
    layer: int
    number: int
    pole: str


@dataclass(frozen=True, order=True)
class Unit:
    """A column of a bank: poles count."""

    bank: Bank
    column: int

    def __post_init__(self) -> None:
        if not 0 <= self.column < self.bank.width:
            what = f"has no unit {self.column}: its columns are 0 to {self.bank.width - 1}"
            raise UsageError(what, where=f"{self.bank.group} of layer {self.bank.layer}")

    @property
    def label(self) -> str:
        return self.bank.label(self.column)

    @property
    def number(self) -> int:
        """Of the feature, neuron or direction."""
        return self.column % self.bank.n_units

    @property
    def pole(self) -> str:
        """`+` or `-`; empty for features."""
        return "" if not self.bank.signed else "+" if self.column < self.bank.n_units else "-"

    def row(self) -> dict[str, str | int]:
        """The columns that name a unit in a table."""
        return {
            "source": self.bank.source, "site": self.bank.site, "layer": self.bank.layer, "unit": self.column,
            "label": self.label,
        }  # fmt: skip


class Banks:
    """The banks of a run by source, site and layer."""

    def __init__(self, banks: Iterable[Bank]) -> None:
        self._banks = {(bank.source, str(bank.site), bank.layer): bank for bank in banks}

    def __iter__(self) -> Iterator[Bank]:
        return iter(self._banks.values())

    def find(self, source: str, site: str, layer: int) -> Bank | None:
        return self._banks.get((source, site, layer))

    def unit(self, name: UnitName) -> Unit:
        """Raises `UsageError` for a unit that was not collected."""
        bank = self.find(name.source, name.site, name.layer)
        if bank is None:
            what = f"{name.source} {name.site} of layer {name.layer} was not collected"
            raise UsageError(what, next_step=f"There are {', '.join(self._held())}")
        if name.number >= bank.n_units:
            raise UsageError(f"{bank.group} of layer {bank.layer} has {bank.n_units} units, no {name.number}")
        return Unit(bank, name.number + (bank.n_units if name.pole == "-" else 0))

    def _held(self) -> list[str]:
        groups: dict[str, list[int]] = {}
        for bank in self._banks.values():
            groups.setdefault(bank.group, []).append(bank.layer)
        return [f"{group} of layers {min(layers)} to {max(layers)}" for group, layers in groups.items()]


def parse_unit(label: str) -> UnitName:
    """What a label says. Raises `UsageError`."""
    label = label.strip()
    if found := _NEURON.fullmatch(label):
        return UnitName(NEURONS, "neuron", int(found[1]), int(found[2]), found[3])
    if found := _FEATURE.fullmatch(label):
        return UnitName(SAE, found[1], int(found[2]), int(found[3]), "")
    if (found := _DIRECTION.fullmatch(label)) and found[1] not in (SAE, NEURONS):
        return UnitName(found[1], found[2], int(found[3]), int(found[4]), found[5])
    next_step = "Write L3N508+ for the pole of a neuron, res L3F12 for a feature, pca res L3D12- for a direction"
    raise UsageError(f"{label[:60]!r} names no unit", next_step=next_step)


def read_units(text: str, banks: Banks) -> tuple[Unit, ...]:
    """The units of a list with commas, or of a file with one label per line (`#` starts a comment), without repeats.

    Raises `UsageError`.
    """
    labels: Collection[str] = text.split(",")
    if "," not in text and Path(text).is_file():
        lines = read_text_input(Path(text), max_bytes=SMALL_BYTES).splitlines()
        labels = [line.partition("#")[0] for line in lines]
    wanted = [label.strip() for label in labels if label.strip()]
    if not wanted:
        raise UsageError("names no unit", where=f"--units {text[:80]}")
    return tuple(dict.fromkeys(banks.unit(parse_unit(label)) for label in wanted))
