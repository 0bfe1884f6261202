"""The list of all explanations, over the browser, the corpus screen or the explanations of a neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from neuron_signatures.tui.explanations.listing import AS_LISTED, ExplanationList, ListTable, Order, list_head
from neuron_signatures.tui.explanations.reading import Sets
from neuron_signatures.tui.keys import COMMON, EXPLANATIONS, ROWS, bindings, footer
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.text import Line, Span, line
from neuron_signatures.tui.screens.explanation import ExplanationPage
from neuron_signatures.tui.screens.input_box import Ask
from neuron_signatures.tui.screens.over_neuron import Opener, OverNeuron
from neuron_signatures.tui.screens.page import Send, Stop
from neuron_signatures.views.explanations.commands import nothing_text
from neuron_signatures.views.explanations.query import parse


class ExplanationsPage(OverNeuron):
    """All explanations with filter and order; Enter opens the neuron. A thread reads, filters and sorts."""

    BINDINGS = bindings(EXPLANATIONS)
    OWN_KEYS = (*EXPLANATIONS, *ROWS)
    FOOTER = footer(ROWS, EXPLANATIONS, COMMON)

    table: ListTable | None

    def __init__(self, opener: Opener, order: Order = AS_LISTED, row: int = 0) -> None:
        """`order` and `row`: initial order and cursor."""
        super().__init__(opener)
        self.table = None
        self._wanted = order
        self._row = row
        self._fault = ""
        self._sets = Sets()

    def again(self, opener: Opener) -> ExplanationsPage:
        return ExplanationsPage(opener, self._wanted, self.rows.cursor or 0)

    def read(self) -> None:
        self._arrange(self._wanted, self._row if self.table is None else self.rows.cursor or 0)

    def head(self) -> Sequence[Line]:
        if self.table is None:
            return [line(Span("explanations", "title"))]
        return list_head(self.table.found, self._sets.infos, self._sets.problems, self.table.scored)

    def text(self, columns: int) -> Sequence[Line]:
        return fact_lines([Fact("fault", self._fault, "warn")], columns) if self._fault else [line("reading ...")]

    def arrived(self, job: str, data: Any) -> None:
        found, self._sets, scored = data
        nothing = "no set can be read" if self._sets.problems else nothing_text(self.run_.path)
        self.table = ListTable(found, scored, nothing=nothing)
        self.draw(self._row)

    def failed(self, job: str, text: str) -> None:
        if self.table is None:
            self._fault = text
            self.draw()
        else:
            self._wanted = self.table.found.order
            self.show_message(text)

    def idle(self) -> Line:
        return line(Span("sorting ...", "mark")) if "arrange" in self.waiting else super().idle()

    def open_row(self, i: int) -> None:
        """Open the neuron where the list was opened: in its explanations, the corpus screen or the browser."""
        assert self.table is not None
        found = replace(self.table.found, index=i)
        row = found.at(i)
        if not self.run_.stores(*row.at):
            self.show_message(f"{row.at.label} is not stored in this run")
            return
        under = self.app.screen_stack[-2]
        if isinstance(under, ExplanationPage):
            self.opener.keep_listed(found)
            self.back_to(under)
            under.go_to(row.at, row.id)
        else:
            self.back_to(self.opener)
            self.opener.open_explained(found)

    def action_sort(self) -> None:
        self._arrange(self._wanted.next())

    def action_reverse(self) -> None:
        self._arrange(replace(self._wanted, reverse=not self._wanted.reverse))

    def action_ask(self, what: str) -> None:
        def accept(text: str) -> None:
            parse(text)  # a mistake is explained in the box
            self._arrange(replace(self._wanted, query=text.strip()))

        label = 'filter: capital, "a phrase", set:, status:, author:, is:locked, L3N14-, >0.5; empty shows all'
        self.app.push_screen(Ask(label, accept, self._wanted.query, allow_empty=True))

    def _arrange(self, wanted: Order, row: int = 0) -> None:
        self._wanted, self._row = wanted, row
        explained, scores = self.opened.explained, self.opened.scored

        def work(stop: Stop, send: Send) -> None:
            send((ExplanationList.arranged(explained.table(), wanted), explained.sets(), scores.headlines()))

        self.start("arrange", work)
        self.draw_status()
