"""The page of all interventions, and the page of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuron_signatures.runs.intervention_records import SwapRecord
from neuron_signatures.runs.results import INTERVENTIONS
from neuron_signatures.tui.export import EXPORT_COLUMNS
from neuron_signatures.tui.keys import COMMON, RESULT, ROWS, bindings, footer
from neuron_signatures.tui.layout.text import Line, Span, beginning, line
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.browser_child import BrowserChild
from neuron_signatures.tui.screens.page import Send, Stop
from neuron_signatures.tui.tables.documents import DocRow, DocTable, document
from neuron_signatures.tui.tables.results import (
    ReadResult,
    ResultTable,
    choose_result,
    no_interventions,
    read_result,
    result_printed,
)
from neuron_signatures.views.interventions.results import ResultRef


class InterventionsPage(BrowserChild):
    """All interventions, newest first; Enter opens one."""

    table: ResultTable

    def __init__(self, browser: BrowserPage, row: int = 0) -> None:
        super().__init__(browser)
        self._row = row
        self.table = self._read()

    def on_mount(self) -> None:
        self.draw(self._row)

    def again(self, browser: BrowserPage) -> InterventionsPage:
        return InterventionsPage(browser, self.rows.cursor or 0)

    def files_changed(self, names: list[str]) -> list[str]:
        own = [n for n in names if n.startswith(f"{INTERVENTIONS}/")]
        if own:
            self.table = self._read()
            self.draw()
        return [n for n in names if n not in own]

    def head(self) -> Sequence[Line]:
        return [line(Span("interventions", "title"), Span("  what edits of neurons change, newest first", "dim"))]

    def problem(self, i: int) -> str:
        return self.table.rows[i].doubt

    def open_row(self, i: int) -> None:
        ref = self.table.rows[i]
        if ref.problem:
            self.show_message(ref.problem)
        else:
            self.app.push_screen(ResultPage(self.browser, ref))

    def _read(self) -> ResultTable:
        return ResultTable(self.browser.opened.interventions(), no_interventions(self.run_, self.cursor))


class ResultPage(BrowserChild):
    """One intervention, or one pair of a swap: sentences and tables; Enter opens the neuron of a row."""

    BINDINGS = bindings(RESULT)
    OWN_KEYS = (*RESULT, *ROWS)
    FOOTER = footer(ROWS, RESULT, COMMON)

    table: DocTable | None

    def __init__(
        self,
        browser: BrowserPage,
        ref: ResultRef,
        found: ReadResult | None = None,
        pair: int | None = None,
        row: int = 0,
    ) -> None:
        """`found`: what was already read. `pair`: only this pair. `row`: the initial cursor."""
        super().__init__(browser)
        self.ref = ref
        self.table = None
        self._found = found
        self._pair = pair
        self._row = row
        self._columns = 0
        self._fault = ""

    def on_mount(self) -> None:
        if self._found is None:
            run_dir = self.run_.path

            def work(stop: Stop, send: Send) -> None:
                send(read_result(run_dir, self.ref.stem))

            self.start("result", work)

    def again(self, browser: BrowserPage) -> ResultPage | None:
        same = next((r for r in browser.opened.interventions() if r.stem == self.ref.stem and not r.problem), None)
        return same and ResultPage(browser, same, pair=self._pair, row=self.rows.cursor or 0)

    def arrived(self, job: str, data: Any) -> None:
        self._found = data
        self.draw(self._row)

    def failed(self, job: str, text: str) -> None:
        self._fault = text
        self.draw()

    def head(self) -> Sequence[Line]:
        pair = "" if self._pair is None else f"  pair {self._pair + 1}"
        doubt = Span(f"  {beginning(self.ref.doubt)}", "warn") if self.ref.doubt else Span("")
        return [line(Span(beginning(self.ref.title), "title"), Span(pair, "dim"), doubt)]

    def text(self, columns: int) -> Sequence[Line]:
        return [line(Span(beginning(self._fault), "warn") if self._fault else "reading ...")]

    def draw(self, row: int | None = None) -> None:
        columns = self.size.width
        if self._found is not None and columns and columns != self._columns:
            self._columns = columns
            self.table = self._document(columns - 4)
        super().draw(row)

    def open_row(self, i: int) -> None:
        assert self.table is not None and self._found is not None
        row = self.table.rows[i]
        if row.pair is not None:
            self.app.push_screen(ResultPage(self.browser, self.ref, self._found, row.pair))
        elif row.at is None:
            self.show_message("this row has no neuron; ] goes to the next table")
        elif not self.run_.stores(*row.at):
            self.show_message(f"{row.at.label} is not stored in this run")
        else:
            self.go(self._place(row))

    def exported(self) -> Printed:
        if self._found is None:
            return super().exported()
        return result_printed(self.run_.path, self.ref, self._found, self._document(EXPORT_COLUMNS), self._pair)

    def action_section(self, by: int) -> None:
        """Move the cursor to the next or previous title, which becomes the first visible row."""
        if self.table is not None:
            rows = self.rows
            there = self.table.section(rows.cursor or 0, by)
            rows.move(len(self.table))  # so that the title is the first visible row
            rows.move(there - (rows.cursor or 0))
            self.draw_status()

    def _document(self, columns: int) -> DocTable:
        assert self._found is not None
        return document(self._found.record, columns, single=self._found.single, pair=self._pair)

    def _place(self, row: DocRow) -> Cursor:
        """The neuron of a row, on the edited prompt if the run has it."""
        assert self._found is not None and row.at is not None
        record = self._found.record
        pairs = record.pairs[self._pair or 0 :] if isinstance(record, SwapRecord) else []
        edited = record.prompt if not isinstance(record, SwapRecord) else pairs[0].destination if pairs else None
        now = self.cursor._replace(layer=row.at.layer, neuron=row.at.neuron)
        for i, p in enumerate(self.run_.prompts if edited else ()):
            if edited and p.probe_id == edited.prompt_id and list(p.token_ids) == edited.token_ids:
                pos = p.seq_len - 1 if row.pos is None else row.pos
                return now._replace(prompt=i, pos=min(pos, p.seq_len - 1))
        return now


def result_page(browser: BrowserPage, name: str) -> ResultPage:
    """The page of the intervention with this name. Raises `UsageError` or `BadRunError` if it cannot be shown."""
    return ResultPage(browser, choose_result(browser.opened, name))
