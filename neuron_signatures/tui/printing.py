"""`--print`: a screen as text or strict JSON on stdout, without a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.listing import list_runs
from neuron_signatures.runs.plain import strict
from neuron_signatures.tui.cursor import Place, first_place
from neuron_signatures.tui.layout import facts as prose
from neuron_signatures.tui.layout.bars import STRIP_LEGEND
from neuron_signatures.tui.layout.header import run_line
from neuron_signatures.tui.layout.text import (
    ASCII_MARKS,
    Line,
    Table,
    clip,
    encodes,
    plain,
    rooms,
    safe,
    table_head,
    table_row,
    wrap,
    written_in,
)
from neuron_signatures.tui.opened_run import Session, across_or_fault, doubts_of, each_prompt, notes_of
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.run_facts import health_of, run_facts
from neuron_signatures.tui.tables import small_tables as tables
from neuron_signatures.tui.tables.ranked_list import (
    ListTable,
    ListView,
    Order,
    choose_list,
    list_header,
    list_record,
    no_list,
)
from neuron_signatures.tui.tables.tokens import TokenTable, arrange, header, summary, token_view
from neuron_signatures.views.acts import layer_lines, over_prompts
from neuron_signatures.views.facts import stages_of
from neuron_signatures.views.search import find_tokens

_PRINTED_ROWS = 50  # of a list that may have hundreds of thousands


class Printed(NamedTuple):
    """A screen: lines above, a table or None, and the same as data."""

    head: list[Line]
    table: Table | None
    record: dict[str, Any]
    cursor: int | None = None


Screen = Callable[[Session, Place, Options, int], Printed]
"""What is shown of a run at a place, laid out for so many columns."""


def printed(options: Options, kind: str, *, columns: int, encoding: str) -> Iterator[str]:
    """The lines of the screen that the flags ask for. Raises `UsageError` or `BadRunError`."""
    marks = {} if all(encodes(chr(c), encoding) for c in ASCII_MARKS) else ASCII_MARKS
    with written_in(encoding):
        yield from (text.translate(marks) for text in _lines(options, kind, columns))


def _lines(options: Options, kind: str, columns: int) -> Iterator[str]:
    if options.run_dir is None:
        shown = _runs(options)
    else:
        session = Session.open(options.run_dir)
        where = first_place(session.run, options)
        shown = _SCREENS[options.screen or "browser"](session, where, options, columns)
    n = _limit(options, shown)
    if kind == "json":
        record = {"screen": options.screen or ("runs" if options.run_dir is None else "browser"), **shown.record}
        if shown.table is not None:
            record["rows"] = [shown.table.record(i) for i in range(n)]
        yield json.dumps(strict(record), allow_nan=False)
    else:
        yield from _text(shown, n, columns)


def _text(shown: Printed, n: int, columns: int) -> Iterator[str]:
    yield from (plain(clip(x, columns)) for x in shown.head)
    if shown.table is None:
        return
    if shown.head:
        yield ""
    if len(shown.table) == 0:
        yield from wrap(safe(shown.table.empty), columns)
        return
    room = rooms(shown.table.columns(), columns)
    yield plain(table_head(shown.table.columns(), room))
    for i in range(n):
        yield plain(table_row(shown.table, i, room, cursor=i == shown.cursor))
    if n < len(shown.table):
        yield f"  ... {len(shown.table) - n} more; --limit 0 prints all"


def _limit(options: Options, shown: Printed) -> int:
    if shown.table is None:
        return 0
    most = options.limit
    if most is None:
        most = _PRINTED_ROWS if isinstance(shown.table, ListTable | tables.HitTable) else 0
    return min(len(shown.table), most) if most else len(shown.table)


def _runs(options: Options) -> Printed:
    rows = list(list_runs(options.runs_root))
    table = tables.RunTable(rows, empty=tables.no_runs(options.runs_root))
    return Printed([], table, {"root": str(options.runs_root)})


def _browser(session: Session, place: Place, options: Options, columns: int) -> Printed:
    view = token_view(session, place, include_bos=options.include_bos)
    if view.fault:
        raise BadRunError(view.fault)
    across = across_or_fault(over_prompts(session.run, place.at, include_bos=options.include_bos))
    table = TokenTable(view, None if options.all_tokens else options.window)
    return Printed(arrange(header(view, across, columns), 5), table, summary(view, across), table.cursor)


def _prompts(session: Session, place: Place, options: Options, columns: int) -> Printed:
    return Printed(
        [run_line(session.run, columns)], tables.PromptTable(session.run.prompts), _where(session), place.prompt
    )


def _layers(session: Session, place: Place, options: Options, columns: int) -> Printed:
    prompt = session.prompt(place)
    rows = list(layer_lines(session.run, prompt, include_bos=options.include_bos))
    head = arrange(header(token_view(session, place, include_bos=options.include_bos), None, columns), 5)[:2]
    record = {**_where(session), "prompt_id": prompt.probe_id, "include_bos": options.include_bos}
    return Printed(head, tables.LayerTable(prompt, rows), record)


def _stack(session: Session, place: Place, options: Options, columns: int) -> Printed:
    rows = list(each_prompt(session.run, place.at, include_bos=options.include_bos))
    if all(r.fault for r in rows):
        raise BadRunError(rows[0].fault)
    table = tables.StackTable(session.run, rows, include_bos=options.include_bos)
    record = {**_where(session), **place.at._asdict(), "include_bos": options.include_bos, "scale": table.scale}
    legend = f"; {STRIP_LEGEND}" if table.has_strip(columns) else ""
    head = [run_line(session.run, columns), *prose.heading(f"{place.at.label} on every prompt{legend}")]
    return Printed(head, table, record)


def _top(session: Session, place: Place, options: Options, columns: int) -> Printed:
    view = token_view(session, place, include_bos=options.include_bos)
    table = tables.TopTable(session.top(place))
    record = {
        **_where(session),
        "prompt_id": view.prompt.probe_id,
        "pos": place.pos,
        "token": view.prompt.tokens[place.pos],
    }
    return Printed(arrange(header(view, None, columns), 3), table, record)


def _lists(session: Session, place: Place, options: Options, columns: int) -> Printed:
    return Printed(
        [run_line(session.run, columns)],
        tables.RefTable(session.refs(), no_list(session.run, "ranked list")),
        _where(session),
    )


def _list_of(kind: str) -> Screen:
    def show(session: Session, place: Place, options: Options, columns: int) -> Printed:
        view = ListView.of(session.ranked(choose_list(session, kind, options.list_name)))
        if options.query:
            view = view.arranged(Order(query=options.query.strip()))
        table = ListTable(view, session.run)
        return Printed(list_header(view, columns), table, {**_where(session), **list_record(view)})

    return show


def _notes(session: Session, place: Place, options: Options, columns: int) -> Printed:
    notes, stages = notes_of(session.run, place.at), stages_of(session.run.path)
    lines = prose.laid_out(prose.notes_facts(place.at, notes, stages), columns)
    record = {**_where(session), **place.at._asdict(), **prose.notes_record(notes, stages)}
    return Printed([run_line(session.run, columns), *prose.heading(place.at.label), *lines], None, record)


def _search(session: Session, place: Place, options: Options, columns: int) -> Printed:
    if not options.query:
        raise UsageError("--screen search needs --query TEXT")
    hits = list(find_tokens(session.run, options.query))
    record = {**_where(session), "query": options.query, "n_hits": len(hits)}
    return Printed([run_line(session.run, columns)], tables.HitTable(session.run, hits), record)


def _run(session: Session, place: Place, options: Options, columns: int) -> Printed:
    m = session.run.manifest.model_dump(exclude={"prompts"})
    health = health_of(session.run)
    more = {"doubts": doubts_of(session.run), "stages": stages_of(session.run.path), "manifest": m}
    record = {**_where(session), **health._asdict(), **more}
    return Printed(prose.laid_out(run_facts(session.run, health), columns), None, record)


def _where(session: Session) -> dict[str, Any]:
    return {"run": str(session.run.path), "model": session.run.manifest.model_name}


_SCREENS: dict[str, Screen] = {
    "browser": _browser, "prompts": _prompts, "layers": _layers, "stack": _stack, "top": _top, "lists": _lists,
    "peaks": _list_of("peaks"), "influence": _list_of("influence"), "signatures": _list_of("signatures"),
    "notes": _notes, "search": _search, "run": _run,
}  # fmt: skip
