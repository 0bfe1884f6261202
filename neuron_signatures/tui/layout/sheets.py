"""Sheets as lines of text: columns as wide as their cells, the last ones left out where they do not fit."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from neuron_signatures.tui.layout.bars import signed_bar
from neuron_signatures.tui.layout.text import (
    Column,
    Line,
    Span,
    beginning,
    column_widths,
    line,
    sign_style,
    table_head,
    table_row,
    width,
)
from neuron_signatures.views.interventions.sheets import Sheet, SheetColumn, Value

_WIDE = 120
"""Columns of a screen with space for wide bars and texts."""
_INDENT = 2


class SheetLines(NamedTuple):
    """A sheet laid out for a number of columns."""

    head: list[Line]
    """The title, and the headings of the columns."""
    rows: list[Line]


@dataclass(frozen=True)
class _SheetTable:
    """A sheet as a table; `bar` names the column whose numbers are also drawn as signed bars."""

    sheet: Sheet
    bar: str = ""
    wide: bool = False
    empty: str = ""

    def __len__(self) -> int:
        return len(self.sheet.rows)

    def columns(self) -> list[Column]:
        return self._columns

    @functools.cached_property
    def _texts(self) -> list[list[str]]:
        return [[beginning(t) for t in self.sheet.texts(i)] for i in range(len(self))]

    @functools.cached_property
    def _columns(self) -> list[Column]:
        found = []
        for i, c in enumerate(self.sheet.columns):
            widest = max([width(c.name), *(width(row[i]) for row in self._texts)])
            found.append(Column(str(i), c.name, min(widest, 70 if self.wide else 36), right=c.kind != "text", drop=i))
            if c.name == self.bar:
                found.append(Column("bar", "", 21 if self.wide else 11, drop=i))
        if self.sheet.columns and self.sheet.columns[-1].kind == "text":  # the last text takes what is left
            found[-1] = found[-1]._replace(width=0, min_width=min(found[-1].width, 12))
        return found

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        row, texts = self.sheet.rows[i], self._texts[i]
        found = {}
        for n, c in enumerate(self.sheet.columns):
            found[str(n)] = Span(texts[n], _style(c, row[n]))
        if self.bar:
            numbers, full = self._bars
            found["bar"] = Span(signed_bar(numbers[i], full, widths.get("bar", 0)), sign_style(numbers[i]))
        return found

    @functools.cached_property
    def _bars(self) -> tuple[list[float], float]:
        """The numbers that are drawn, and their full scale."""
        numbers = [v if isinstance(v, int | float) else math.nan for v in self.sheet.column(self.bar)]
        return numbers, max((abs(v) for v in numbers if math.isfinite(v)), default=0.0)

    def record(self, i: int) -> dict[str, Any]:
        return {c.name: v for c, v in zip(self.sheet.columns, self.sheet.rows[i], strict=True)}


def sheet_lines(sheet: Sheet, columns: int, *, bar: str = "") -> SheetLines:
    """The sheet for this many columns."""
    table = _SheetTable(sheet, bar, columns >= _WIDE)
    shown = table.columns()
    widths = column_widths(shown, columns)
    left_out = sum(c.name != "bar" for c in shown) - sum(name != "bar" for name in widths)
    notes = [sheet.note, f"{left_out} more on a wider screen" if left_out else ""]
    note = "; ".join(filter(None, notes))
    title = line(Span(sheet.title, "title"), Span(f"  {note}" if note else "", "dim"))
    rows = [table_row(table, i, widths, cursor=False)[1:] for i in range(len(table))]
    head = table_head(shown, widths)
    return SheetLines([title, (Span(head[0].text[_INDENT:], "head"),)], rows)


def _style(column: SheetColumn, value: Value) -> str:
    if column.kind == "signed" and isinstance(value, int | float):
        return sign_style(value)
    return "title" if column.name == "neuron" else ""
