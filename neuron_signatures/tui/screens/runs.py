"""The list of runs, and which screens a run begins with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.screen import Screen

from neuron_signatures.runs.listing import RunSummary, list_runs
from neuron_signatures.tui.layout.text import Line, Piece, Table, line, safe
from neuron_signatures.tui.opened_run import until
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.lists import ListPage, ListsPage
from neuron_signatures.tui.screens.page import Page, Send, Stop, TablePage
from neuron_signatures.tui.screens.tables import LayersPage, PromptsPage, SearchPage, StackPage, TopPage
from neuron_signatures.tui.screens.texts import FactsPage, NotesPage
from neuron_signatures.tui.tables import small_tables as tables
from neuron_signatures.tui.tables.ranked_list import Order, choose_list

if TYPE_CHECKING:
    from neuron_signatures.tui.open_run import Opened
    from neuron_signatures.tui.options import Options


class RunsPage(TablePage):
    """The runs of a folder. Those that are shown stay until the folder has been read again."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self._table = tables.RunTable([])
        self._found: list[RunSummary] = []
        self._fault = ""

    def on_mount(self) -> None:
        self.action_reload()

    def on_screen_resume(self) -> None:
        self.message = ""  # that a run is being read, and it has been
        self.draw()

    def action_reload(self) -> None:
        def work(stop: Stop, send: Send) -> None:
            for r in until(list_runs(self.root), stop):
                send(r)

        self._found, self._fault = [], ""
        if not len(self._table):
            self._table = tables.RunTable(self._found)
        self.start("runs", work)
        self.draw()

    def arrived(self, job: str, data: Any) -> None:
        self._found.append(data)
        if self._table.rows is self._found:
            self.draw()

    def ended(self, job: str) -> None:
        at = self.rows.cursor or 0
        names = [r.name for r in self._found]
        name = self._table.rows[at].name if at < len(self._table) else ""
        self._table = tables.RunTable(self._found, empty=self._fault or tables.no_runs(self.root))
        self.draw(names.index(name) if name in names else None)

    def failed(self, job: str, text: str) -> None:
        self._fault = text

    def head(self) -> Sequence[Line]:
        count = f"  {len(self._table)}" + (", reading ..." if "runs" in self.waiting else "")
        return [line(Piece("runs in ", "dim"), Piece(safe(str(self.root)), "title"), Piece(count, "dim"))]

    def table(self) -> Table:
        return self._table

    def idle(self) -> Line:
        i = self.rows.cursor or 0
        problem = self._table.rows[i].problem if i < len(self._table) else ""
        return line(*super().idle(), Piece(f"  {safe(problem)}", "warn")) if problem else super().idle()

    def open_row(self, i: int) -> None:
        name = self._table.rows[i].name
        self.say(f"reading {safe(name)} ...")
        self.app.open_run(self.root / name, None)


def pages_of(opened: Opened, options: Options) -> list[Page]:
    """The screens that a run begins with, the last on top. Raises `UsageError` for a list that is not there."""
    if opened.session is None:
        return [FactsPage(opened)]
    browser = BrowserPage(opened, options)
    on_top = page_named(browser, opened, options)
    return [browser] if on_top is None else [browser, on_top]


def reopened(stack: Sequence[Screen[Any]], pages: list[Page]) -> list[Page]:
    """`pages`, and over their browser the screens that are open over the browser of the same run as it was before."""
    at = next((i for i, s in enumerate(stack) if isinstance(s, BrowserPage)), None)
    browser = pages[0]
    if at is None or not isinstance(browser, BrowserPage):
        return pages
    before = stack[at]
    assert isinstance(before, BrowserPage)
    browser.walk_on(before)
    over: list[Page] = []
    for page in stack[at + 1 :]:
        again = page.again(browser) if isinstance(page, Page) else None
        if again is None:
            break
        over.append(again)
    return [browser, *over]


def page_named(browser: BrowserPage, opened: Opened, options: Options) -> Page | None:
    """The screen that `--screen` names, of those over the browser."""
    name = options.screen or "browser"
    if name in ("peaks", "influence", "signatures"):
        ref = choose_list(browser.session, name, options.list_name)
        return ListPage(browser, ref, Order(query=(options.query or "").strip()))
    if name == "search":
        return SearchPage(browser, options.query or "") if options.query else None
    if name == "run":
        return FactsPage(opened)
    simple = {"prompts": PromptsPage, "layers": LayersPage, "stack": StackPage, "top": TopPage, "lists": ListsPage,
              "notes": NotesPage}  # fmt: skip
    return simple[name](browser) if name in simple else None
