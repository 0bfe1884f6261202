"""Elements shared by the views. Selections in charts and tables come from the browser and are validated.

Text from data goes only where Streamlit does not interpret Markdown: `st.text`, `st.code`, `st.dataframe`, options of
a select box, and escaped HTML.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.figure_style import CONFIG
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_HEAD, _ROW = 38, 35
"""Pixels of the heading and of a row of a table."""
_FACTS = """<style>
.ns-facts{margin:0;padding:0;display:grid;grid-template-columns:max-content 1fr;
gap:.1rem .9rem;font-size:.875rem;line-height:1.45}
.ns-facts .l{opacity:.65}.ns-facts .v{overflow-wrap:anywhere}
.ns-small{font-size:.8rem;line-height:1.35;overflow-wrap:anywhere;opacity:.75}
.ns-lead{font-size:1.05rem;font-weight:500;overflow-wrap:anywhere}
.ns-quote{font-family:"Source Code Pro",ui-monospace,monospace;font-size:.9rem;overflow-wrap:anywhere;opacity:.85}
</style>"""


def empty(what: str, command: str = "", why: str = "") -> None:
    """A box for missing data with the command that creates it. Only `command` may contain text from data."""
    with st.container(border=True):
        st.write(what)
        if why:
            st.caption(why)
        if command:
            st.code(escape(command), language="bash", wrap_lines=True)


def show_error(e: ProjectError | OSError, title: str = "This cannot be shown.") -> None:
    """Show an error message."""
    st.error(title)
    line = e.line() if isinstance(e, ProjectError) else escape(f"{e.filename or ''}: {e.strerror or e}")
    st.code(line, language=None, wrap_lines=True)


def show_lines(title: str, lines: Sequence[str]) -> None:
    """A warning with lines that may come from data; nothing for no lines."""
    if lines:
        st.warning(title)
        st.code("\n".join(map(escape, lines)), language=None, wrap_lines=True)


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """A table of labels and values; both may come from data."""
    rows = "".join(f'<span class="l">{as_html(k)}</span><span class="v">{as_html(v)}</span>' for k, v in pairs)
    st.html(f'{_FACTS}<div class="ns-facts">{rows}</div>')


def quote(text: str) -> None:
    """A line of text that may come from data, such as a prompt."""
    st.html(f'{_FACTS}<div class="ns-quote">{as_html(text)}</div>')


def lead(text: str) -> None:
    """The main sentence of a page, which may come from data."""
    st.html(f'{_FACTS}<div class="ns-lead">{as_html(text)}</div>')


def small(text: str) -> None:
    """A line of small print that may come from data."""
    st.html(f'{_FACTS}<div class="ns-small">{as_html(text)}</div>')


def as_html(text: str) -> str:
    """Text from data, escaped for HTML and for display."""
    return html.escape(escape(text))


def chart(ctx: PageContext, figure: go.Figure, key: str, *, opens: View | None = None, list: str | None = None) -> None:
    """A figure. With `opens`, a click on a point opens the neuron in its `customdata` (layer, neuron).

    With `list`, the stem of a ranked list, the third number in `customdata` is the row in that list.
    """
    if opens is None:
        st.plotly_chart(figure, key=key, config=CONFIG)
        return
    figure.update_layout(clickmode="event+select", dragmode="zoom")
    st.plotly_chart(
        figure, key=key, config=CONFIG, selection_mode="points",
        on_select=lambda: _open_point(ctx, key, opens, list),
    )  # fmt: skip


def table(
    frame: pd.DataFrame, key: str, *, help: Mapping[str, str] | None = None, height: int | None = None,
    widths: Mapping[str, int] | None = None, on_row: Callable[[int], None] | None = None,
    bars: Mapping[str, float] | None = None, labels: Mapping[str, str] | None = None,
    formats: Mapping[str, str] | None = None, at_most: int | None = None,
    on_cell: Callable[[int, str], None] | None = None,
) -> None:  # fmt: skip
    """A table; a click on a cell, or on the box of a row, calls `on_row` with the index of the row in `frame`.

    `help` explains columns on hover; it must not come from data. `widths` are in pixels. Columns of `bars` are drawn as
    bars up to this value, without numbers. `labels` are shorter headings, `formats` are those of number columns.
    `at_most` is the largest height of a table that is as high as its rows. `on_cell` is called with the row and the
    column of a clicked cell; not with `on_row`.
    """
    help, widths, labels = help or {}, widths or {}, labels or {}
    columns = {
        name: st.column_config.Column(labels.get(name), help=help.get(name), width=widths.get(name))
        for name in {**help, **widths, **labels} if name in frame
    }  # fmt: skip
    for name in labels:
        if name in frame and frame[name].dtype.kind == "f":
            columns[name] = st.column_config.NumberColumn(labels[name], help=help.get(name), format="%.4g")
    for name, how in (formats or {}).items():
        if name not in frame:
            continue
        columns[name] = st.column_config.NumberColumn(help=help.get(name), format=how)
    for name, full in (bars or {}).items():
        columns[name] = st.column_config.ProgressColumn(
            labels.get(name),
            help=help.get(name),
            format=" ",
            width=70,
            color="gray",
            min_value=0.0,
            max_value=full or 1.0,
        )
    if at_most is not None:
        height = min(_HEAD + _ROW * max(1, len(frame)), at_most)
    options: dict[str, Any] = {"key": key, "hide_index": True, "column_config": columns, "height": height or "auto"}
    options["placeholder"] = ""  # of an undefined number
    n_rows = len(frame)  # the callback lives as long as the session: it must not hold the frame
    if on_row is not None:
        modes = ["single-row", "single-cell"]
        options |= {"selection_mode": modes, "on_select": lambda: _open_row(key, n_rows, on_row)}
    if on_cell is not None:
        names = [str(name) for name in frame.columns]
        options |= {"selection_mode": "single-cell", "on_select": lambda: _open_cell(key, n_rows, names, on_cell)}
    st.dataframe(frame, **options)


def _open_point(ctx: PageContext, key: str, view: View, list: str | None) -> None:
    event = st.session_state.get(key)
    at = chosen_neuron(event, ctx.run)
    if at is not None:
        data = None if list is None else point_data(event, 3)
        ctx.choose(layer=at.layer, neuron=at.neuron, view=view, list=list, row=None if data is None else data[2])


def _open_row(key: str, n_rows: int, on_row: Callable[[int], None]) -> None:
    row = chosen_row(st.session_state.get(key), n_rows)
    if row is not None:
        on_row(row)


def _open_cell(key: str, n_rows: int, columns: Sequence[str], on_cell: Callable[[int, str], None]) -> None:
    cell = chosen_cell(st.session_state.get(key), n_rows, columns)
    if cell is not None:
        on_cell(*cell)


def chosen_neuron(event: Any, run: Run) -> NeuronAt | None:
    """The neuron in the `customdata` (layer, neuron) of the first selected point.

    None if nothing is selected or the run does not store the neuron.
    """
    numbers = point_data(event, 2)
    return NeuronAt(*numbers) if numbers is not None and run.stores(*numbers) else None


def point_data(event: Any, n: int) -> list[int] | None:
    """The first `n` numbers of the first point's `customdata`; None if there is no point or they are not integers."""
    points = _selection(event).get("points") or []
    data = points[0].get("customdata") if points and isinstance(points[0], Mapping) else None
    if isinstance(data, Mapping):  # some versions of Streamlit pass a list as {"0": ..., "1": ...}
        data = [data.get(str(i)) for i in range(n)]
    if not isinstance(data, Sequence) or isinstance(data, str) or len(data) < n:
        return None
    numbers = [int(v) for v in data[:n] if _is_integer(v)]
    return numbers if len(numbers) == n else None


def chosen_row(event: Any, n_rows: int) -> int | None:
    """The row of the selected cell of a table's event, else the selected row; None if it is not in range.

    The page keeps a selected row when a cell is clicked, but no selected cell when a row is clicked.
    """
    selection = _selection(event)
    cells, rows = (selection.get(kind) or [] for kind in ("cells", "rows"))
    cell = cells[0] if cells else None
    row = cell[0] if isinstance(cell, Sequence) and len(cell) == 2 else rows[0] if rows else None
    return int(row) if row is not None and _is_integer(row) and 0 <= row < n_rows else None


def chosen_cell(event: Any, n_rows: int, columns: Sequence[str]) -> tuple[int, str] | None:
    """Row and column of the selected cell of a table's event; None if there is no such cell."""
    row, cells = chosen_row(event, n_rows), _selection(event).get("cells") or []
    return (row, cells[0][1]) if row is not None and cells and cells[0][1] in columns else None


def _selection(event: Any) -> Mapping[str, Any]:
    found = event.get("selection") if isinstance(event, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1 and abs(value) < 1e15
