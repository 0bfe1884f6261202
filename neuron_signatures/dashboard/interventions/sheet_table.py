"""Tables of interventions in the explorer."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import small, table
from neuron_signatures.views.interventions.sheets import Sheet

_FORMATS = {"signed": "%+.4g", "size": "%.3g", "share": "percent", "p": "%.2g"}
_TALLEST = 400
_ROW = 35
"""Pixels."""


def sheet_table(
    ctx: PageContext, sheet: Sheet, key: str, *, on_row: Callable[[int], None] | None = None, export: bool = False
) -> None:
    """A sheet under its title. A click on a row opens its neuron, or calls `on_row`."""
    if not sheet.rows:
        return
    st.markdown(f"#### {sheet.title}")
    notes = [sheet.note, "click a cell to open the neuron" if sheet.neurons else ""]
    if text := "; ".join(filter(None, notes)):
        small(f"{text[0].upper()}{text[1:]}.")
    frame = sheet_frame(sheet)
    table(
        frame, key, help={c.name: c.help for c in sheet.columns if c.help},
        height=_TALLEST if _ROW * (len(frame) + 1) > _TALLEST else None,
        formats={c.name: _FORMATS[c.kind] for c in sheet.columns if c.kind in _FORMATS},
        on_row=_opens_neuron(ctx, sheet) if sheet.neurons else on_row,
    )  # fmt: skip
    if export:
        with st.popover("Export"):
            downloads(frame, key, key)


def sheet_frame(sheet: Sheet) -> pd.DataFrame:
    """The rows with the types of their columns: whole numbers, floats, text."""
    types = {"text": "object", "count": "Int64"}
    return pd.DataFrame(
        {
            c.name: pd.Series([row[i] for row in sheet.rows], dtype=types.get(c.kind, "float64"))
            for i, c in enumerate(sheet.columns)
        }
    )


def _opens_neuron(ctx: PageContext, sheet: Sheet) -> Callable[[int], None]:
    neurons = tuple(sheet.neurons)  # the callback lives as long as the session: it must not hold the sheet
    stores = [ctx.run.stores(*at) for at in neurons]

    def open_neuron(row: int) -> None:
        if stores[row]:
            ctx.open_neuron(neurons[row])

    return open_neuron
