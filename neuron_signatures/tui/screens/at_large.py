"""A neuron at large: what its weights and the corpus say, and the neurons that are like it; Enter goes to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuron_signatures.tui.at_large.lines import at_large_facts
from neuron_signatures.tui.at_large.related import RelatedTable, nothing_related
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.text import Line, Span, line
from neuron_signatures.tui.run.opening import OpenResult
from neuron_signatures.tui.screens.browser_state import BrowserState
from neuron_signatures.tui.screens.corpus_state import CorpusState
from neuron_signatures.tui.screens.over_neuron import Opener
from neuron_signatures.tui.screens.page import Page, Send, Stop, TablePage
from neuron_signatures.views.at_large.neuron import AtLarge, read_at_large
from neuron_signatures.views.at_large.related import related_of


class AtLargePage(TablePage):
    """Over the browser or the corpus screen. A thread reads."""

    table: RelatedTable | None

    def __init__(self, opener: Opener, row: int = 0) -> None:
        super().__init__()
        self.opener, self.run_ = opener, opener.run_
        self.at = opener.cursor.at
        self.table = None
        self._row = row
        self._fault = ""
        self._known: AtLarge | None = None

    def on_mount(self) -> None:
        def work(stop: Stop, send: Send) -> None:
            send(read_at_large(self.run_.path, self.at))

        self.start("at_large", work)

    def reopen(self, result: OpenResult, first: Page, under: Page) -> Page | None:
        return AtLargePage(under, self.rows.cursor or 0) if isinstance(under, BrowserState | CorpusState) else None

    def head(self) -> Sequence[Line]:
        title = line(Span(f"{self.at.label} at large", "title"))
        facts = [] if self._known is None else at_large_facts(self._known)
        return [title, *fact_lines(facts, max(self.size.width, 20))]

    def text(self, columns: int) -> Sequence[Line]:
        return fact_lines([Fact("fault", self._fault, "warn")], columns) if self._fault else [line("reading ...")]

    def arrived(self, job: str, data: Any) -> None:
        self._known = data
        self.table = RelatedTable(related_of(data), nothing_related(self.run_.path, data))
        self.draw(self._row)

    def failed(self, job: str, text: str) -> None:
        self._fault = text
        self.draw()

    def open_row(self, i: int) -> None:
        assert self.table is not None
        at = self.table.rows[i].at
        if not self.run_.stores(*at):
            self.show_message(f"{at.label} is not stored in this run")
            return
        while self.app.screen is not self.opener and self.app.back():
            pass
        self.opener.go(self.opener.cursor._replace(layer=at.layer, neuron=at.neuron))
