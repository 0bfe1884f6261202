"""The ranked lists of a run, and one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.results import ANALYSIS
from neuron_signatures.tui import prose, tables
from neuron_signatures.tui.ask import Ask
from neuron_signatures.tui.base import Send, Stop
from neuron_signatures.tui.browser import BrowserPage
from neuron_signatures.tui.keys import COMMON, LIST, ROWS, bindings, footer
from neuron_signatures.tui.list_table import (
    ListTable,
    ListView,
    Walk,
    list_header,
    no_list,
    peak_of_row,
    place_of_row,
)
from neuron_signatures.tui.of_browser import OfBrowser
from neuron_signatures.tui.pieces import Line, Piece, Table, line, safe
from neuron_signatures.views.coords import check_layer
from neuron_signatures.views.ranked import ListRef

if TYPE_CHECKING:
    pass


class ListsPage(OfBrowser):
    def __init__(self, browser: BrowserPage, row: int = 0) -> None:
        super().__init__(browser)
        self._table = self._read()
        self._row = row

    def on_mount(self) -> None:
        self.draw(self._row)

    def on_screen_resume(self) -> None:
        self._table = self._read()
        self.draw()

    def again(self, browser: BrowserPage) -> ListsPage:
        return ListsPage(browser, self.rows.cursor or 0)

    def look_again(self, names: list[str]) -> list[str]:
        results = [n for n in names if n.startswith(f"{ANALYSIS}/")]
        if results:
            self._table = self._read()
            self.draw()
        return [n for n in names if n not in results]

    def head(self) -> Sequence[Line]:
        return [line(Piece("which neurons matter", "title"), Piece("  ranked lists, newest first", "dim"))]

    def table(self) -> Table:
        return self._table

    def open_row(self, i: int) -> None:
        ref = self._table.refs[i]
        if ref.problem:
            self.say(ref.problem)
        else:
            self.app.push_screen(ListPage(self.browser, ref))

    def _read(self) -> tables.RefTable:
        self.browser.session.drop_changed_results()
        return tables.RefTable(self.browser.session.refs(), no_list(self.run_, "ranked list"))


class ListPage(OfBrowser):
    """A ranked list: sorted, filtered, opened in the browser at the neuron's peak."""

    BINDINGS = bindings(LIST)
    OWN_KEYS = (*LIST, *ROWS)
    FOOTER = footer(ROWS, LIST, COMMON)

    def __init__(
        self, browser: BrowserPage, ref: ListRef, query: str = "", *, like: ListView | None = None, row: int = 0
    ) -> None:
        """`query` and `row`, or the order and the filter of `like`: what is shown first."""
        super().__init__(browser)
        self.ref = ref
        self.view: ListView | None = None
        self._first = (None, True, query) if like is None else (like.key, like.descending, like.query)
        self._row = row
        self._table: ListTable | None = None
        self._fault = ""

    def on_mount(self) -> None:
        def work(stop: Stop, send: Send) -> None:
            session = self.browser.session
            ranked = session.ranked(self.ref)
            view = ListView.of(ranked, session.list_stamps(self.ref))
            send(view)
            if self._first != (None, True, ""):
                key, descending, query = self._first
                send(view.arranged(key=key, descending=descending, query=query))

        self.start("list", work)

    def again(self, browser: BrowserPage) -> ListPage | None:
        same = (r for r in browser.session.refs() if (r.kind, r.stem) == (self.ref.kind, self.ref.stem))
        ref = next(same, None)
        return ref and ListPage(browser, ref, self._first[2], like=self.view, row=self.rows.cursor or 0)

    def head(self) -> Sequence[Line]:
        if self.view is None:
            return [line(Piece(safe(self.ref.title), "title"))]
        return list_header(self.view, self.size.width)

    def text(self, columns: int) -> Sequence[Line]:
        return (
            prose.laid_out([prose.Fact("fault", self._fault, "warn")], columns)
            if self._fault
            else [line("reading ...")]
        )

    def table(self) -> Table | None:
        return self._table

    def arrived(self, job: str, data: Any) -> None:
        if job == "row":
            place, walk = data
            self.go(place, walk)
            return
        self.view = data
        self._table = ListTable(data, self.run_.layers)
        self.draw(self._row)

    def ended(self, job: str) -> None:
        self.draw()

    def failed(self, job: str, text: str) -> None:
        self._fault = text
        self.say(text)
        self.draw()

    def idle(self) -> Line:
        return line(Piece("sorting ...", "mark")) if "arrange" in self.waiting else super().idle()

    def open_row(self, i: int) -> None:
        assert self.view is not None
        walk = Walk(self.view, i)
        row = walk.row()
        try:
            check_layer(self.run_, row.at.layer)
        except ProjectError as e:
            self.say(e.line())
            return
        place = place_of_row(self.run_, row, self.place)
        if place is not None:
            self.go(place, walk)
            return

        def work(stop: Stop, send: Send) -> None:
            with self.run_.another_reader() as reader:
                send((peak_of_row(reader, row, self.place), walk))

        self.say(f"looking for the peak of {row.at.label}{row.pole} ...")
        self.start("row", work)

    def action_sort(self) -> None:
        if self.view is not None:
            self._arrange(self.view.next_key(), descending=True, query=self.view.query)

    def action_reverse(self) -> None:
        if self.view is not None:
            self._arrange(self.view.key or "|score|", descending=not self.view.descending, query=self.view.query)

    def action_ask(self, what: str) -> None:
        def accept(text: str) -> str:
            if self.view is not None:
                self._arrange(self.view.key, descending=self.view.descending, query=text)
            return ""

        now = self.view.query if self.view else ""
        self.app.push_screen(
            Ask("filter: L3, L3N14, >0.5, <=-1, or text; empty shows all", accept, now, empty_too=True)
        )

    def _arrange(self, key: Any, *, descending: bool, query: str) -> None:
        view = self.view
        assert view is not None
        self._row = 0
        self.start("arrange", lambda stop, send: send(view.arranged(key=key, descending=descending, query=query)))
        self.draw_status()
