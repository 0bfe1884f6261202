"""A screen as lines of text or as data, for `--print` and for exports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from neuron_signatures.runs.plain import strict
from neuron_signatures.tui.layout.text import (
    Line,
    Table,
    clip,
    column_widths,
    line_text,
    safe,
    table_head,
    table_row,
    wrap,
)


class Printed(NamedTuple):
    """A screen: lines above the table, the table or None, and the same as data."""

    head: list[Line]
    table: Table | None
    record: dict[str, Any]
    cursor_row: int | None = None


def text_lines(shown: Printed, n: int, columns: int, *, more: str) -> Iterator[str]:
    """The lines above the table, and its first `n` rows; `more` is the hint at the rows that are left out."""
    yield from (line_text(clip(x, columns)) for x in shown.head)
    if shown.table is None:
        return
    if shown.head:
        yield ""
    if len(shown.table) == 0:
        yield from wrap(safe(shown.table.empty), columns)
        return
    widths = column_widths(shown.table.columns(), columns)
    yield line_text(table_head(shown.table.columns(), widths))
    for i in range(n):
        yield line_text(table_row(shown.table, i, widths, cursor=i == shown.cursor_row))
    if n < len(shown.table):
        yield f"  ... {len(shown.table) - n} more; {more}"


def json_text(shown: Printed, n: int) -> str:
    """One line of strict JSON: the record, and the first `n` rows."""
    record = dict(shown.record)
    if shown.table is not None:
        record["rows"] = [shown.table.record(i) for i in range(n)]
    return json.dumps(strict(record), allow_nan=False)
