"""How the browser divides a terminal: list, tokens and text side by side where they fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.tui.faults import short_fault
from neuron_signatures.tui.layout.coloured import flowing, legend
from neuron_signatures.tui.layout.facts import Fact, explained_line, fact_lines, heading, more_facts, write_facts
from neuron_signatures.tui.layout.header import run_line
from neuron_signatures.tui.layout.text import Line, Span, line, number, safe, sign_style
from neuron_signatures.tui.run.about import header, passage_lines, statistics_lines
from neuron_signatures.tui.run.opened_run import N_TOP, Notes, OpenedRun
from neuron_signatures.tui.run.overall import N_STRONGEST
from neuron_signatures.tui.tables.tokens import TokenView

WIDE, WIDEST = 120, 160
"""Columns from which the notes, and the list, stand beside the tokens."""
_SIDE, _LIST = 46, 54
"""Least width of the notes, and of a list that shows what its neurons write."""
_N_TOP_AT_SIDE = 8
_STATISTICS_FROM = 20
"""Lines of a terminal on which the statistics are shown even if they take rows from the table."""


class Panes(NamedTuple):
    """Widths of list, tokens and notes; 0: not shown."""

    listed: int
    tokens: int
    side: int


def panes(columns: int) -> Panes:
    if columns < WIDE:
        return Panes(0, columns, 0)
    if columns < WIDEST:
        side = max(_SIDE, columns * 3 // 8)
        return Panes(0, columns - side, side)
    listed, side = max(_LIST, columns * 8 // 25), columns * 8 // 25
    return Panes(listed, columns - listed - side, side)


def head_lines(
    opened: OpenedRun, view: TokenView, notes: Notes | None, columns: int, height: int, *, plain: bool
) -> list[Line]:
    """Three lines about neuron and prompt, between them the explanation of a run that has some; then the coloured text,
    unless it stands at the side.
    """
    lines = header(view, notes, columns)[: 3 if height >= 10 else 1]
    if height >= _STATISTICS_FROM and opened.has_explanations:
        lines.insert(2, explained_line(notes, "-" if (view.act or 0) < 0 else "+", columns))
    rows = 0 if columns >= WIDEST or height < 12 else 1 if height < 20 else 3 + (height - 20) // 8
    return lines + flowing(view.coloured, columns, rows, plain=plain)


def foot_lines(opened: OpenedRun, view: TokenView, free: int, columns: int, height: int, *, plain: bool) -> list[Line]:
    """What fits into `free` lines under the table: statistics, and above them the strongest prompts; beside a list, the
    top neurons at the token, because the side shows those prompts.
    """
    statistics = [*statistics_lines(view, panes(columns).tokens), run_line(view.run, panes(columns).tokens)]
    least = len(statistics) - 1 if height >= _STATISTICS_FROM else 0  # without the run
    shown = statistics[: max(least, free)]
    free -= len(shown) + 2  # with a heading and an empty line
    if free < 2:
        return shown
    if columns >= WIDEST:
        found = _top_lines(opened, view, min(free, N_TOP))
    else:
        found = passage_lines(view, free + 1, panes(columns).tokens, plain=plain)
        if view.overall is None:  # keep their place, so that nothing moves when they arrive
            found += [()] * (min(free, N_STRONGEST, len(view.run.prompts)) + 1 - len(found))
    return [(), *found, *shown]


def side_lines(
    opened: OpenedRun, view: TokenView, notes: Notes | None, stages: Sequence[str], columns: int, whole: Panes, *,
    plain: bool,
) -> list[Line]:  # fmt: skip
    """At the side: what the neuron writes and notes, between them the top neurons at the token; beside a list, the
    coloured text and the strongest prompts.
    """
    lines: list[Line] = []
    if whole.listed:
        key = legend(view.scaling.words(), plain=plain)
        lines += [*heading("text"), *flowing(view.coloured, columns, 8, plain=plain), line(Span(key, "dim")), ()]
    lines += heading(f"what {view.cursor.at.label} writes")
    if notes is None:
        lines.append(line(Span("reading ...", "dim")))
    else:
        known = write_facts(notes, view.act, sources=False) or [Fact("", "no write scores of this neuron", "dim")]
        lines += fact_lines(known, columns, label_width=10)
    if whole.listed:
        lines += [(), *passage_lines(view, 9, columns, plain=plain)]
    else:
        lines += [(), *_top_lines(opened, view, _N_TOP_AT_SIDE)]
    if notes is not None:
        lines += [(), *heading("results"), *fact_lines(more_facts(notes, stages), columns, label_width=12)]
    return lines


def _top_lines(opened: OpenedRun, view: TokenView, n: int) -> list[Line]:
    """The neurons with the largest |act| at the token under the cursor."""
    lines = heading(f"top neurons at token {view.cursor.pos}")
    try:
        top = opened.top(view.cursor)[:n]
    except (ProjectError, OSError) as e:
        return [*lines, line(Span(safe(short_fault(e)), "warn"))]
    for i, (at, act) in enumerate(top, start=1):
        style = "mark" if at == view.cursor.at else ""
        shown = Span(f"{number(act):>10}", sign_style(act))
        lines.append(line(Span(f"{i:>3} ", "dim"), Span(f"{at.label:11}", style), shown))
    return lines
