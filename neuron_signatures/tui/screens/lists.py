"""The page of all ranked lists, and the page of one list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.results import ANALYSIS
from neuron_signatures.tui.keys import COMMON, LIST, ROWS, bindings, footer
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.text import Line, Span, line, safe
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.browser_child import BrowserChild
from neuron_signatures.tui.screens.input_box import Ask
from neuron_signatures.tui.screens.page import Send, Stop
from neuron_signatures.tui.screens.walking import open_walk
from neuron_signatures.tui.tables.listings import RefTable
from neuron_signatures.tui.tables.ranked_list import (
    AS_LISTED,
    ListTable,
    ListView,
    Order,
    Walk,
    list_header,
    no_list,
)
from neuron_signatures.views.coords import check_neuron
from neuron_signatures.views.lists.ranked import ListRef


class ListsPage(BrowserChild):
    """All ranked lists. The cursor stays on its list when others appear or disappear."""

    table: RefTable

    def __init__(self, browser: BrowserPage, row: int = 0, stem: str = "") -> None:
        """The cursor starts on the list `stem`, or on `row` if there is no such list."""
        super().__init__(browser)
        self.table = self._read()
        self._row = self.table.row_of(stem, row)

    def on_mount(self) -> None:
        self.draw(self._row)

    def on_screen_resume(self) -> None:
        self._refresh_lists()

    def again(self, browser: BrowserPage) -> ListsPage:
        return ListsPage(browser, self.rows.cursor or 0, self._stem())

    def files_changed(self, names: list[str]) -> list[str]:
        results = [n for n in names if n.startswith(f"{ANALYSIS}/")]
        if results:
            self._refresh_lists()
        return [n for n in names if n not in results]

    def head(self) -> Sequence[Line]:
        order = "  influence and contrasts, newest first; peaks; signatures"
        return [line(Span("which neurons matter", "title"), Span(order, "dim"))]

    def problem(self, i: int) -> str:
        return self.table.rows[i].doubt

    def open_row(self, i: int) -> None:
        ref = self.table.rows[i]
        if ref.problem:
            self.show_message(ref.problem)
        else:
            self.app.push_screen(ListPage(self.browser, ref))

    def _stem(self) -> str:
        i = self.rows.cursor or 0
        return self.table.rows[i].stem if i < len(self.table) else ""

    def _refresh_lists(self) -> None:
        stem = self._stem()
        self.table = self._read()
        self.draw(self.table.row_of(stem, self.rows.cursor or 0))

    def _read(self) -> RefTable:
        self.browser.opened.drop_changed_results()
        opened = self.browser.opened
        return RefTable(opened.refs(), no_list(self.run_, "ranked list"), opened.validations())


class ListPage(BrowserChild):
    """A ranked list with sort order and filter; Enter opens a neuron at its peak.

    Keys set the wanted order; a thread sorts, then the page is redrawn.
    """

    BINDINGS = bindings(LIST)
    OWN_KEYS = (*LIST, *ROWS)
    FOOTER = footer(ROWS, LIST, COMMON)

    table: ListTable | None

    def __init__(self, browser: BrowserPage, ref: ListRef, wanted: Order = AS_LISTED, row: int = 0) -> None:
        """`wanted` and `row`: initial order and cursor."""
        super().__init__(browser)
        self.ref = ref
        self.view: ListView | None = None
        self._wanted = wanted
        self._row = row
        self.table = None
        self._fault = ""

    def on_mount(self) -> None:
        def work(stop: Stop, send: Send) -> None:
            send(ListView.read(self.browser.opened, self.ref))

        self.start("list", work)

    def again(self, browser: BrowserPage) -> ListPage | None:
        same = (r for r in browser.opened.refs() if (r.kind, r.stem) == (self.ref.kind, self.ref.stem))
        ref = next(same, None)
        return ref and ListPage(browser, ref, self._wanted, self.rows.cursor or 0)

    def head(self) -> Sequence[Line]:
        if self.view is None:
            return [line(Span(safe(self.ref.title), "title"))]
        return list_header(self.view, self.size.width)

    def text(self, columns: int) -> Sequence[Line]:
        return fact_lines([Fact("fault", self._fault, "warn")], columns) if self._fault else [line("reading ...")]

    def arrived(self, job: str, data: Any) -> None:
        if job == "walk":
            cursor, walk = data
            self.go(cursor, walk=walk)
            return
        self.view = data
        self.table = ListTable(data, self.run_, hint="; / changes it")
        self.draw(self._row)
        if job == "list" and self._wanted != data.order:
            self._arrange(self._wanted, self._row)

    def failed(self, job: str, text: str) -> None:
        self.show_message(text)
        if self.view is None:
            self._fault = text
        else:
            self._wanted = self.view.order  # an invalid filter changes nothing
        self.draw()

    def idle(self) -> Line:
        return line(Span("sorting ...", "mark")) if "arrange" in self.waiting else super().idle()

    def open_row(self, i: int) -> None:
        assert self.view is not None
        walk = Walk(self.view, i)
        row = walk.row()
        try:
            check_neuron(self.run_, row.at)
        except ProjectError as e:
            self.show_message(e.line())
            return
        open_walk(self, walk, f"looking for the peak of {row.at.label}{row.pole} ...")

    def action_sort(self) -> None:
        self._arrange(self._wanted.next(self.ref.kind))

    def action_reverse(self) -> None:
        self._arrange(self._wanted.reversed())

    def action_ask(self, what: str) -> None:
        def accept(text: str) -> None:
            self._arrange(self._wanted._replace(query=text.strip()))

        label = "filter: Texas, promotes:·Austin, fires:is, often:is, class:say_x, L3, >0.5; empty shows all"
        self.app.push_screen(Ask(label, accept, self._wanted.query, allow_empty=True))

    def _arrange(self, wanted: Order, row: int = 0) -> None:
        """Sort and filter the list, once it has been read."""
        self._wanted, self._row = wanted, row
        if (view := self.view) is not None:
            self.start("arrange", lambda stop, send: send(view.arranged(wanted)))
            self.draw_status()
