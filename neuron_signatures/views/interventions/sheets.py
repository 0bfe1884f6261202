"""Tables as plain values, which both viewers lay out in the same order and with the same number formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from neuron_signatures.views.coords import NeuronAt

Kind = Literal["text", "count", "signed", "size", "share", "p"]
"""`share` is a probability or another part of 1, `size` a magnitude, `p` a p-value."""
Value = str | int | float | None
"""None where the number is undefined."""


class SheetColumn(NamedTuple):
    name: str
    kind: Kind = "signed"
    help: str = ""


class Sheet(NamedTuple):
    """A small table; its columns are in order of importance. Text from data is `visible` or `brief`."""

    title: str
    columns: Sequence[SheetColumn]
    rows: Sequence[Sequence[Value]]
    neurons: Sequence[NeuronAt] = ()
    """The neuron of each row, in tables of neurons."""
    note: str = ""

    def without_empty(self) -> Sheet:
        """The table without columns that have no value in any row."""
        kept = [i for i in range(len(self.columns)) if any(row[i] not in (None, "") for row in self.rows)]
        return self._replace(
            columns=[self.columns[i] for i in kept], rows=[[row[i] for i in kept] for row in self.rows]
        )

    def column(self, name: str) -> list[Value]:
        """The values of a column; undefined ones if there is no such column."""
        i = next((i for i, c in enumerate(self.columns) if c.name == name), None)
        return [None if i is None else row[i] for row in self.rows]

    def texts(self, row: int) -> list[str]:
        """The cells of a row as text."""
        return [cell_text(v, c.kind) for v, c in zip(self.rows[row], self.columns, strict=True)]


def cell_text(value: Value, kind: Kind) -> str:
    """A cell for display: `+0.125`, `12.5 %`, `p` with two digits; empty if it is undefined."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else f"{value:+}"
    if kind in ("text", "count"):
        return f"{int(value):,}"
    if kind == "share":
        return share_text(value)
    if kind == "p":
        return f"{value:.2g}"
    if kind == "size" or value == 0:
        return f"{value:,.0f}" if 1e3 <= value < 1e7 else f"{value:.3g}"
    return f"{value:+.3f}" if 0.1 <= abs(value) < 1e3 else f"{value:+.3g}"


def share_text(value: float) -> str:
    """`23.7 %`, `0.07 %`, `<0.001 %`."""
    percent = 100 * value
    if 0 < percent < 1e-3:
        return "<0.001 %"
    return f"{percent:.1f} %" if percent >= 1 or percent == 0 else f"{percent:.2g} %"


def signed_text(value: float) -> str:
    return cell_text(value, "signed")


def size_text(value: float) -> str:
    return cell_text(value, "size")


def counted(n: int, noun: str) -> str:
    """`1 pair`, `1,234 pairs`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def columns(*described: tuple[str, Kind] | tuple[str, Kind, str]) -> list[SheetColumn]:
    return [SheetColumn(*d) for d in described]


def neurons_of(cells: Iterable[object]) -> list[NeuronAt]:
    """The neurons of records with `layer` and `neuron`."""
    return [NeuronAt(c.layer, c.neuron) for c in cells]  # type: ignore[attr-defined]
