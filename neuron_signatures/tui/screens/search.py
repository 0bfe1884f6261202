"""Search over the browser or the corpus screen: tokens in prompts, explanations and exemplars, who writes a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from neuron_signatures.tui.keys import COMMON, ROWS, SEARCH, bindings, footer
from neuron_signatures.tui.layout.text import Line, Span, line, safe, wrap
from neuron_signatures.tui.run.overall import until
from neuron_signatures.tui.screens.browser_state import BrowserState
from neuron_signatures.tui.screens.over_neuron import Opener, OverNeuron
from neuron_signatures.tui.screens.page import Page, Send, Stop
from neuron_signatures.tui.search.box import AskSearch
from neuron_signatures.tui.search.hits import FoundTable, HitList, found_head
from neuron_signatures.tui.search.ways import SearchBy, next_way, way_of, ways_of
from neuron_signatures.tui.tables.prompts import HitTable
from neuron_signatures.views.search import find_tokens
from neuron_signatures.views.search_run.asked import Asked

_MOST_TOKENS = 10_000


class SearchPage(OverNeuron):
    """One text, looked for in one way; Tab takes the next way. A thread searches. Enter opens the hit."""

    BINDINGS = bindings(SEARCH)
    OWN_KEYS = (*SEARCH, *ROWS)
    FOOTER = footer(ROWS, SEARCH, COMMON)

    table: FoundTable | HitTable | None

    def __init__(self, opener: Opener, query: str, by: str | None = None, row: int = 0) -> None:
        """`by`: the way; None, or a way that the run does not have, for the first one."""
        super().__init__(opener)
        self.query_text = query
        self.by: SearchBy = way_of(self.run_, by)
        self.table = None
        self._row = row
        self._fault = ""

    def again(self, opener: Opener) -> SearchPage:
        return SearchPage(opener, self.query_text, self.by, self.rows.cursor or 0)

    def read(self) -> None:
        if not self.query_text:
            self.call_after_refresh(self.action_ask, "search")
            return
        self.table, self._fault = None, ""
        query, by, run = self.query_text, self.by, self.run_
        opened = self.opened

        def work(stop: Stop, send: Send) -> None:
            if by == "prompts":
                send(list(islice(until(find_tokens(run, query), stop), _MOST_TOKENS)))
            else:
                told = opened.search.tell(Asked(query, by))
                send(told)
                if told.asked.of_tokens and told.found.hits and not stop():
                    send(opened.search.explained(told))

        self.start("search", work)

    def arrived(self, job: str, data: Any) -> None:
        row = self._row if self.table is None else None  # None: where the cursor is
        self.table = HitTable(data, self.run_) if isinstance(data, list) else FoundTable(HitList(data))
        self.draw(row)

    def failed(self, job: str, text: str) -> None:
        self._fault = text
        self.draw()

    def head(self) -> Sequence[Line]:
        ways = [_shown(way, here=way == self.by) for way in ways_of(self.run_)]
        bar = line("in ", *(part for way in ways for part in (way, "  ")), Span("Tab: next", "dim"))
        if isinstance(self.table, FoundTable):
            first, *more = found_head(self.table.found.told)
            return [first, bar, *more]
        return [line(Span("search ", "title"), Span(safe(self.query_text), "mark"), Span(self._count(), "dim")), bar]

    def text(self, columns: int) -> Sequence[Line]:
        style = "warn" if self._fault else "dim"
        text = safe(self._fault) if self._fault else "searching ..." if self.query_text else "/ types a text"
        return [(), *(line(Span(part, style)) for part in wrap(text, columns))]

    def open_row(self, i: int) -> None:
        if isinstance(self.table, HitTable):
            self._open_token(self.table, i)
        elif self.table is not None:
            self._open_hit(self.table, i)

    def action_way(self, by: int) -> None:
        self._search(self.query_text, next_way(self.run_, self.by, by))

    def action_ask(self, what: str) -> None:
        def accept(text: str, by: SearchBy) -> None:
            self.call_later(self._search, text, by)

        self.app.push_screen(AskSearch(self.run_, accept, self.by, self.query_text))

    def _search(self, query: str, by: SearchBy) -> None:
        self.query_text, self.by, self._row = query, by, 0
        self.app.options = replace(self.app.options, by=by)
        self.read()
        self.draw()

    def _count(self) -> str:
        if self.table is None:
            return ""
        n = len(self.table)
        return f"  {f'the first {n}' if n >= _MOST_TOKENS else n} tokens"

    def _open_token(self, table: HitTable, i: int) -> None:
        browser = self.opener if isinstance(self.opener, BrowserState) else self.opener.browser
        assert browser is not None, "a run without prompts has no tokens of prompts"
        hit = table.rows[i]
        self.back_to(browser)
        browser.go(browser.cursor._replace(prompt=hit.prompt_index, pos=hit.pos))

    def _open_hit(self, table: FoundTable, i: int) -> None:
        found = replace(table.found, index=i)
        at = found.at(i).at
        if not self.run_.stores(*at):
            self.show_message(f"{at.label} is not stored in this run")
            return
        self.back_to(self.opener)
        self.opener.open_explained(found)


def ask_search(page: Page, opener: Opener) -> None:
    """Open the box over a screen, then the search over it."""

    def accept(text: str, by: SearchBy) -> None:
        page.app.options = replace(page.app.options, by=by)
        page.app.call_later(page.app.push_screen, SearchPage(opener, text, by))

    page.app.push_screen(AskSearch(opener.run_, accept, way_of(opener.run_, page.app.options.by)))


def _shown(way: SearchBy, *, here: bool) -> Span:
    return Span(f"[{way}]", "mark") if here else Span(way, "dim")
