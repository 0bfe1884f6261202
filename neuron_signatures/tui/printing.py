"""`--print`: a screen as text or strict JSON on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.listing import list_runs
from neuron_signatures.runs.plain import strict
from neuron_signatures.tui.cursor import Cursor, first_cursor
from neuron_signatures.tui.layout.bars import STRIP_LEGEND
from neuron_signatures.tui.layout.facts import fact_lines, heading, notes_facts, notes_record
from neuron_signatures.tui.layout.header import run_line
from neuron_signatures.tui.layout.text import (
    ASCII_MARKS,
    Line,
    Table,
    clip,
    column_widths,
    encodes,
    line_text,
    safe,
    table_head,
    table_row,
    wrap,
    written_in,
)
from neuron_signatures.tui.opened_run import OpenedRun, doubts_of, notes_of
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.overall import each_prompt, overall_or_fault
from neuron_signatures.tui.run_facts import health_of, run_facts
from neuron_signatures.tui.tables.activations import LayerTable, StackTable, TopTable
from neuron_signatures.tui.tables.listings import HitTable, PromptTable, RefTable, RunTable, no_runs
from neuron_signatures.tui.tables.ranked_list import (
    ListTable,
    ListView,
    Order,
    choose_list,
    list_header,
    list_record,
    no_list,
)
from neuron_signatures.tui.tables.tokens import TokenTable, header, summary, token_view
from neuron_signatures.views.acts import layer_lines, over_prompts
from neuron_signatures.views.facts import stages_of
from neuron_signatures.views.search import find_tokens

_PRINTED_ROWS = 50  # a list may have hundreds of thousands


class Printed(NamedTuple):
    """A screen: lines above the table, the table or None, and the same as data."""

    head: list[Line]
    table: Table | None
    record: dict[str, Any]
    cursor_row: int | None = None


Screen = Callable[[OpenedRun, Cursor, Options, int], Printed]
"""Lays out a screen of a run at a cursor for a number of columns."""


def printed(options: Options, kind: str, *, columns: int, encoding: str) -> Iterator[str]:
    """Lines of the screen that the flags select. Raises `UsageError` or `BadRunError`."""
    marks = {} if all(encodes(chr(c), encoding) for c in ASCII_MARKS) else ASCII_MARKS
    with written_in(encoding):
        yield from (text.translate(marks) for text in _lines(options, kind, columns))


def _lines(options: Options, kind: str, columns: int) -> Iterator[str]:
    if options.run_dir is None:
        shown = _runs(options)
    else:
        opened = OpenedRun.open(options.run_dir)
        where = first_cursor(opened.run, options)
        shown = _SCREENS[options.screen or "browser"](opened, where, options, columns)
    n = _limit(options, shown)
    if kind == "json":
        record = {"screen": options.screen or ("runs" if options.run_dir is None else "browser"), **shown.record}
        if shown.table is not None:
            record["rows"] = [shown.table.record(i) for i in range(n)]
        yield json.dumps(strict(record), allow_nan=False)
    else:
        yield from _text(shown, n, columns)


def _text(shown: Printed, n: int, columns: int) -> Iterator[str]:
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
        yield f"  ... {len(shown.table) - n} more; --limit 0 prints all"


def _limit(options: Options, shown: Printed) -> int:
    if shown.table is None:
        return 0
    most = options.limit
    if most is None:
        most = _PRINTED_ROWS if isinstance(shown.table, ListTable | HitTable) else 0
    return min(len(shown.table), most) if most else len(shown.table)


def _runs(options: Options) -> Printed:
    rows = list(list_runs(options.runs_root))
    table = RunTable(rows, empty=no_runs(options.runs_root))
    return Printed([], table, {"root": str(options.runs_root)})


def _browser(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    view = token_view(opened, cursor, include_bos=options.include_bos)
    if view.fault:
        raise BadRunError(view.fault)
    overall = overall_or_fault(over_prompts(opened.run, cursor.at, include_bos=options.include_bos))
    table = TokenTable(view, None if options.all_tokens else options.window)
    return Printed(header(view, overall, columns), table, summary(view, overall), table.cursor_row)


def _prompts(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    return Printed([run_line(opened.run, columns)], PromptTable(opened.run.prompts), _where(opened), cursor.prompt)


def _layers(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    prompt = opened.prompt(cursor)
    rows = list(layer_lines(opened.run, prompt, include_bos=options.include_bos))
    head = header(token_view(opened, cursor, include_bos=options.include_bos), None, columns)[:2]
    record = {**_where(opened), "prompt_id": prompt.probe_id, "include_bos": options.include_bos}
    return Printed(head, LayerTable(rows, prompt), record)


def _stack(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    rows = list(each_prompt(opened.run, cursor.at, include_bos=options.include_bos))
    if all(r.fault for r in rows):
        raise BadRunError(rows[0].fault_line)
    table = StackTable(opened.run, rows, include_bos=options.include_bos)
    record = {**_where(opened), **cursor.at._asdict(), "include_bos": options.include_bos, "scale": table.scale}
    legend = f"; {STRIP_LEGEND}" if table.has_strip(columns) else ""
    head = [run_line(opened.run, columns), *heading(f"{cursor.at.label} on every prompt{legend}")]
    return Printed(head, table, record)


def _top(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    view = token_view(opened, cursor, include_bos=options.include_bos)
    table = TopTable(opened.top(cursor))
    record = {"prompt_id": view.prompt.probe_id, "pos": cursor.pos, "token": view.prompt.tokens[cursor.pos]}
    return Printed(header(view, None, columns, 3), table, {**_where(opened), **record})


def _lists(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    table = RefTable(opened.refs(), no_list(opened.run, "ranked list"), opened.validations())
    return Printed([run_line(opened.run, columns)], table, _where(opened))


def _list(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    view = ListView.read(opened, choose_list(opened, options.screen or "", options.list_name))
    if options.query:
        view = view.arranged(Order(query=options.query.strip()))
    return Printed(list_header(view, columns), ListTable(view, opened.run), {**_where(opened), **list_record(view)})


def _notes(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    notes, stages = notes_of(opened.run, cursor.at), stages_of(opened.run.path)
    lines = fact_lines(notes_facts(cursor.at, notes, stages), columns)
    record = {**_where(opened), **cursor.at._asdict(), **notes_record(notes, stages)}
    return Printed([run_line(opened.run, columns), *heading(cursor.at.label), *lines], None, record)


def _search(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    if not options.query:
        raise UsageError("--screen search needs --query TEXT")
    hits = list(find_tokens(opened.run, options.query))
    record = {**_where(opened), "query": options.query, "n_hits": len(hits)}
    return Printed([run_line(opened.run, columns)], HitTable(hits, opened.run), record)


def _run(opened: OpenedRun, cursor: Cursor, options: Options, columns: int) -> Printed:
    m = {**opened.run.manifest.model_dump(exclude={"prompts"}), "format_version": opened.run.format_version}
    health = health_of(opened.run)
    more = {"doubts": doubts_of(opened.run), "stages": stages_of(opened.run.path), "manifest": m}
    record = {**_where(opened), **health._asdict(), **more}
    return Printed(fact_lines(run_facts(opened.run, health), columns), None, record)


def _where(opened: OpenedRun) -> dict[str, Any]:
    return {"run": str(opened.run.path), "model": opened.run.manifest.model_name}


_SCREENS: dict[str, Screen] = {
    "browser": _browser, "prompts": _prompts, "layers": _layers, "stack": _stack, "top": _top, "lists": _lists,
    "peaks": _list, "influence": _list, "signatures": _list, "contrast": _list, "notes": _notes, "search": _search,
    "run": _run,
}  # fmt: skip
