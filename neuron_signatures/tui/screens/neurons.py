"""The list of the neurons of a corpus, over the corpus screen; Enter opens one there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.tui.corpus.neurons import AS_LISTED, NeuronList, NeuronTable, Wanted, neurons_head
from neuron_signatures.tui.faults import fault_text
from neuron_signatures.tui.keys import COMMON, NEURONS, ROWS, bindings, footer
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.text import Line, Span, line
from neuron_signatures.tui.run.opening import OpenResult
from neuron_signatures.tui.screens.corpus import CorpusPage
from neuron_signatures.tui.screens.input_box import Ask
from neuron_signatures.tui.screens.page import Page, Send, Stop, TablePage


class NeuronsPage(TablePage):
    """All recorded neurons; a thread sorts and filters them."""

    BINDINGS = bindings(NEURONS)
    OWN_KEYS = (*NEURONS, *ROWS)
    FOOTER = footer(ROWS, NEURONS, COMMON)

    table: NeuronTable | None

    def __init__(self, corpus: CorpusPage, wanted: Wanted = AS_LISTED, row: int = 0) -> None:
        """`wanted` and `row`: initial order and cursor."""
        super().__init__()
        self.corpus = corpus
        self.table = None
        self._wanted = wanted
        self._row = row
        self._fault = ""

    def on_mount(self) -> None:
        self._arrange(self._wanted, self._row)

    def reopen(self, result: OpenResult, first: Page, under: Page) -> Page | None:
        return NeuronsPage(under, self._wanted, self.rows.cursor or 0) if isinstance(under, CorpusPage) else None

    def head(self) -> Sequence[Line]:
        return [line(Span("neurons of the corpus", "title"))] if self.table is None else neurons_head(self.table.found)

    def text(self, columns: int) -> Sequence[Line]:
        return fact_lines([Fact("fault", self._fault, "warn")], columns) if self._fault else [line("reading ...")]

    def arrived(self, job: str, data: Any) -> None:
        self.table = NeuronTable(data)
        self.draw(self._row)

    def failed(self, job: str, text: str) -> None:
        if self.table is None:
            self._fault = text
            self.draw()
        else:
            self._wanted = self.table.found.wanted  # an invalid filter changes nothing
            self.show_message(text)

    def idle(self) -> Line:
        return line(Span("sorting ...", "mark")) if "arrange" in self.waiting else super().idle()

    def open_row(self, i: int) -> None:
        assert self.table is not None
        found = self.table.found
        at = found.at(i).at
        if not self.corpus.run_.stores(*at):
            self.show_message(f"layer {at.layer} is not stored in this run")
            return
        self.app.back()
        self.corpus.open_neuron(NeuronList(found.neurons, found.rows, found.wanted, i))

    def action_sort(self) -> None:
        self._arrange(self._wanted.next())

    def action_ask(self, what: str) -> None:
        def accept(text: str) -> None:
            self._arrange(self._wanted._replace(query=text.strip()))

        self.app.push_screen(Ask("filter: Texas, often:is, L3, >0.5; empty shows all", accept, self._wanted.query,
                                 allow_empty=True))  # fmt: skip

    def _arrange(self, wanted: Wanted, row: int = 0) -> None:
        self._wanted, self._row = wanted, row
        try:
            neurons = self.corpus.opened.corpus.neurons
        except (ProjectError, OSError) as e:
            self._fault = fault_text(e)
            self.draw()
            return

        def work(stop: Stop, send: Send) -> None:
            send(NeuronList.arranged(neurons, wanted))

        self.start("arrange", work)
        self.draw_status()
