"""The circuits of a run; Enter opens one."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.runs.names import CIRCUITS
from neuron_signatures.tui.circuit.common_page import CommonPage
from neuron_signatures.tui.circuit.page import CircuitPage
from neuron_signatures.tui.circuit.printed import CircuitTable, choose_circuit, no_circuits
from neuron_signatures.tui.layout.text import Line, Span, line
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.browser_child import BrowserChild
from neuron_signatures.views.circuit.opened import CircuitRef, circuit_refs


class CircuitsPage(BrowserChild):
    """All circuits. The cursor starts on the first one of the prompt that the browser shows."""

    table: CircuitTable

    def __init__(self, browser: BrowserPage, row: int | None = None) -> None:
        super().__init__(browser)
        self.table = self._read()
        own = browser.opened.prompt(browser.cursor).probe_id
        first = next((i for i, r in enumerate(self.table.rows) if r.prompt and r.prompt.prompt_id == own), 0)
        self._row = first if row is None else row

    def on_mount(self) -> None:
        self.draw(self._row)

    def again(self, browser: BrowserPage) -> CircuitsPage:
        return CircuitsPage(browser, self.rows.cursor or 0)

    def files_changed(self, names: list[str]) -> list[str]:
        own = [n for n in names if n.startswith(f"{CIRCUITS}/")]
        if own:
            self.browser.opened.drop_changed_circuits()
            self.table = self._read()
            self.draw()
        return [n for n in names if n not in own]

    def head(self) -> Sequence[Line]:
        return [line(Span("circuits", "title"), Span("  how neurons make one prediction", "dim"))]

    def problem(self, i: int) -> str:
        return self.table.rows[i].problem

    def open_row(self, i: int) -> None:
        ref = self.table.rows[i]
        if ref.problem:
            self.show_message(ref.problem)
        else:
            self.app.push_screen(_page_of(self.browser, ref))

    def _read(self) -> CircuitTable:
        return CircuitTable(circuit_refs(self.run_.path), no_circuits(self.browser.opened, self.cursor.prompt))


def circuit_page(browser: BrowserPage, name: str | None, query: str) -> CircuitsPage | CircuitPage | CommonPage:
    """The circuit of this name, or the only one; else the list of all. Raises `UsageError` if there is none of it."""
    refs = circuit_refs(browser.opened.run.path)
    if name is not None:
        return _page_of(browser, choose_circuit(refs, name), query)
    if len(refs) == 1 and not refs[0].problem:
        return _page_of(browser, refs[0], query)
    return CircuitsPage(browser)


def _page_of(browser: BrowserPage, ref: CircuitRef, query: str = "") -> CircuitPage | CommonPage:
    return CommonPage(browser, ref.name) if ref.is_common else CircuitPage(browser, ref.name, query)
