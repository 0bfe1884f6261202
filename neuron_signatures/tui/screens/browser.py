"""The browser: one neuron on one prompt, token by token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.timer import Timer

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.cursor import JUMPS, Axis, Cursor, move
from neuron_signatures.tui.faults import fault_text
from neuron_signatures.tui.keys import BROWSER, BROWSER_FOOTER, bindings
from neuron_signatures.tui.layout.facts import Fact, fact_lines, heading, notes_facts
from neuron_signatures.tui.layout.text import (
    Line,
    Span,
    clip,
    column_widths,
    line,
    number,
    sign_style,
    table_head,
    table_row,
)
from neuron_signatures.tui.layout.widgets import Block, Rows
from neuron_signatures.tui.opened_run import OpenedRun, OpenResult, notes_of
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.overall import Overall, read_overall
from neuron_signatures.tui.screens.input_box import Ask
from neuron_signatures.tui.screens.page import Page, Send, Stop, TablePage
from neuron_signatures.tui.tables.ranked_list import Walk, cursor_of_row, peak_of_row
from neuron_signatures.tui.tables.tokens import TokenTable, TokenView, header, token_view
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.facts import stages_of

MakePage = Callable[["BrowserPage", Options], Page | None]
WIDE = 120
_SIDE = 46
_QUESTIONS = {
    "neuron": "neuron: 508, 17/5863, L17N5863 or MODEL/17/5863",
    "layer": "layer",
    "token": "token position; -1 is the last",
    "search": 'token to search for; "Austin" in quotes matches exactly that token',
}


class BrowserPage(Page):
    """Owns the cursor, the BOS setting and the open list (`walk`)."""

    CSS = f"""
    BrowserPage Horizontal {{ height: 1fr; }}
    BrowserPage #side {{ width: {_SIDE}; padding: 0 0 0 2; }}
    """
    BINDINGS = bindings(BROWSER)
    OWN_KEYS = BROWSER
    FOOTER: ClassVar[list[tuple[str, str]]] = BROWSER_FOOTER

    def __init__(self, result: OpenResult, options: Options, make_page: MakePage) -> None:
        """`make_page` makes the page over this browser that `Options.screen` names."""
        super().__init__()
        assert result.opened is not None and result.cursor is not None
        self.result = result
        self._make_page = make_page
        self.opened: OpenedRun = result.opened
        self.cursor: Cursor = result.cursor
        self.window = options.window
        self.all_tokens = options.all_tokens
        self.include_bos = options.include_bos
        self.walk: Walk | None = None
        self._begins_with_search = options.screen == "search" and not options.query
        self._stages = stages_of(self.opened.run.path)
        self._rest: Timer | None = None
        self._read_for: tuple[NeuronAt, bool] | None = None
        """Neuron and BOS setting for which a thread last read all prompts."""

    def on_mount(self) -> None:
        self.app.cursor = self.cursor
        if self._begins_with_search:
            self.call_after_refresh(self.action_ask, "search")

    def compose(self) -> ComposeResult:
        yield Block("head")
        with Horizontal():
            yield Rows("rows")
            yield Rows("side")
        yield Block("status")
        yield Block("keys")

    @property
    def run_(self) -> Run:
        return self.opened.run

    def keep_walk(self, before: BrowserPage) -> None:
        """Keep the open list of the browser before a reload, if its files are unchanged."""
        if before.walk is None:
            return
        view = before.walk.view
        if view.files and view.files == self.opened.list_stamps(view.ranked.ref):
            self.walk = before.walk
        else:
            self.message = "the open list has changed; w shows the lists"

    def go(self, cursor: Cursor, message: str = "", *, walk: Walk | None = None) -> None:
        """Move to a cursor and redraw. `walk`: the list that is open from now on; None: the same as before."""
        self.cursor, self.message, self.walk = cursor, message, walk or self.walk
        self.app.cursor = cursor
        self.draw()
        self.app.painted("move")

    def draw(self) -> None:
        columns, height = self.size
        view = token_view(self.opened, self.cursor, include_bos=self.include_bos)
        overall = self.opened.overall(self.cursor.at, self.include_bos)
        side = max(_SIDE, columns * 3 // 8) if columns >= WIDE else 0
        table = TokenTable(view, None if self.all_tokens else self.window)
        widths = column_widths(table.columns(), columns - side)
        lines = header(view, overall, columns, 5 if height >= 18 else 3 if height >= 10 else 1)
        head = [clip(x, columns) for x in lines]
        head += [table_head(table.columns(), widths)] if height >= 8 else []
        self.block("head").show(head)
        self.rows.show(
            len(table), lambda i, w: table_row(table, i, widths, cursor=i == table.cursor_row), cursor=table.cursor_row
        )
        self._draw_side(side)
        self.draw_status()
        self._read_more_later(view, overall, side)

    def idle(self) -> Line:
        n = self.opened.prompt(self.cursor).seq_len
        shown = f"all {n}" if self.all_tokens or n <= self.window else f"{self.window} of {n}"
        return line(Span(self.walk.label(self.cursor) if self.walk else f"{shown} tokens", "dim"))

    def _draw_side(self, columns: int) -> None:
        side = self.query_one("#side", Rows)
        side.display = columns > 0
        if columns:
            side.styles.width = columns
            lines = self._side_lines(columns - 2)
            side.show(len(lines), lambda i, w: clip(lines[i], w), cursor=None)

    def _side_lines(self, columns: int) -> list[Line]:
        """Top neurons at the token under the cursor, then what the results say about the neuron."""
        lines = heading(f"top neurons at token {self.cursor.pos}")
        try:
            for n, (at, act) in enumerate(self.opened.top(self.cursor)[:10], start=1):
                style = "mark" if at == self.cursor.at else ""
                act_span = Span(f"{number(act):>10}", sign_style(act))
                lines.append(line(Span(f"{n:>3} ", "dim"), Span(f"{at.label:11}", style), act_span))
        except (ProjectError, OSError) as e:
            lines += fact_lines([Fact("fault", fault_text(e), "warn")], columns)
        lines += [(), *heading(f"notes on {self.cursor.at.label}")]
        notes = self.opened.notes.get(self.cursor.at)
        return lines + fact_lines(notes_facts(self.cursor.at, notes, self._stages), columns, label_width=12)

    def _read_more_later(self, view: TokenView, overall: Overall | None, side: int) -> None:
        """Once the cursor rests, read all prompts and the tables in a thread."""
        if self._rest is not None:
            self._rest.stop()
        if self._read_for != (self.cursor.at, self.include_bos):
            self.abandon("more")  # a thread that reads another neuron would delay this one
        needed = (overall is None and not view.fault, side > 0 and self.cursor.at not in self.opened.notes)
        if any(needed):
            self.waiting.add("more")
            self._rest = self.set_timer(self.app.rest_seconds, lambda: self._read_more(*needed))

    def _read_more(self, overall: bool, notes: bool) -> None:
        opened, at, include_bos = self.opened, self.cursor.at, self.include_bos
        if "more" in self._tickets and self._read_for == (at, include_bos):
            return  # already reading
        self._read_for = (at, include_bos)

        def work(stop: Stop, send: Send) -> None:
            with opened.table_lock:
                if notes and not stop():
                    send((at, include_bos, notes_of(opened.run, at)))
            found = read_overall(opened.run, at, include_bos=include_bos, stop=stop) if overall else None
            if found is not None:
                usable = bool(found.fault) or opened.is_current()
                send((at, include_bos, found if usable else Overall(fault="the files changed; r reloads them")))

        self.start("more", work)

    def arrived(self, job: str, data: Any) -> None:
        if job == "walk":
            cursor, walk = data
            self.go(cursor, walk=walk)
            return
        self.opened.remember(*data)
        self.draw()

    def action_move(self, axis: Axis, by: int) -> None:
        self.go(*move(self.run_, self.cursor, axis, by))

    def action_extreme(self, which: str) -> None:
        view = token_view(self.opened, self.cursor, include_bos=self.include_bos)
        pos = None if view.stats is None else view.stats.max_pos if which == "max" else view.stats.min_pos
        if pos is None:
            self.show_message(f"cannot be read: {view.brief}" if view.fault else "no value is included on this prompt")
        else:
            self.go(self.cursor._replace(pos=pos))

    def action_all_tokens(self) -> None:
        self.all_tokens = not self.all_tokens
        self.app.options = replace(self.app.options, all_tokens=self.all_tokens)
        self.go(self.cursor, "all tokens" if self.all_tokens else f"{self.window} tokens")

    def action_bos(self) -> None:
        self.include_bos = not self.include_bos
        self.app.options = replace(self.app.options, include_bos=self.include_bos)
        self.go(self.cursor, f"first position {'included' if self.include_bos else 'excluded'}")

    def action_walk(self, by: int) -> None:
        """Open the next or previous row of the open list."""
        if self.walk is None:
            self.show_message("no list is open: w shows the lists, Enter opens a row")
            return
        walk = self.walk.step(by, self.run_)
        if walk is None:
            self.show_message(f"this is the {'last' if by > 0 else 'first'} stored neuron of the list")
            return
        open_walk(self, walk, "looking for the peak ...")

    def action_ask(self, what: str) -> None:
        def accept(text: str) -> None:
            if what == "search":
                self.call_later(self.action_open, "search", text)
            else:
                self.go(JUMPS[what](self.run_, self.cursor, text))

        self.app.push_screen(Ask(_QUESTIONS[what], accept))

    def action_open(self, name: str, query: str | None = None) -> None:
        page = self._make_page(self, replace(self.app.options, screen=name, query=query))
        assert page is not None
        self.app.push_screen(page)


class BrowserChild(TablePage):
    """A screen that is opened from the browser and returns to it."""

    def __init__(self, browser: BrowserPage) -> None:
        super().__init__()
        self.browser = browser
        self.run_ = browser.opened.run
        self.cursor = browser.cursor

    def reopen(self, browser: BrowserPage) -> Page | None:
        """The same screen over the browser of a reloaded run; None if it no longer exists."""
        return type(self)(browser)

    def go(self, cursor: Cursor, *, walk: Walk | None = None) -> None:
        """Return to the browser at this cursor."""
        while self.app.screen is not self.browser and self.app.back():
            pass
        self.browser.go(cursor, walk=walk)


def open_walk(page: BrowserPage | BrowserChild, walk: Walk, message: str) -> None:
    """Open the neuron of a row of a list. The job `walk` looks for its peak if the list does not contain it."""
    cursor = cursor_of_row(page.run_, walk.row(), page.cursor)
    if cursor is not None:
        page.go(cursor, walk=walk)
        return

    def work(stop: Stop, send: Send) -> None:
        with page.run_.another_reader() as reader:
            send((peak_of_row(reader, walk.row(), page.cursor), walk))

    page.show_message(message)
    page.start("walk", work)
