"""Screens with one table over the browser: prompts, layers, top neurons, every prompt."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.tui.faults import fault_text
from neuron_signatures.tui.keys import COMMON, ROWS, STACK, bindings, footer
from neuron_signatures.tui.layout.header import run_line
from neuron_signatures.tui.layout.text import Line, Span, beginning, line, safe, token_text, wrap
from neuron_signatures.tui.run.cursor import to_prompt
from neuron_signatures.tui.run.overall import each_prompt, until
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.browser_child import BrowserChild
from neuron_signatures.tui.screens.page import Send, Stop
from neuron_signatures.tui.tables.activations import LayerTable, StackTable, TopTable
from neuron_signatures.tui.tables.prompts import PromptTable
from neuron_signatures.views.acts import layer_lines

_BATCH = 50


class PromptsPage(BrowserChild):
    table: PromptTable

    def __init__(self, browser: BrowserPage) -> None:
        super().__init__(browser)
        self.table = PromptTable(self.run_.prompts, browser.opened.predicted)

    def on_mount(self) -> None:
        self.draw(self.cursor.prompt)

    def head(self) -> Sequence[Line]:
        return [run_line(self.run_, self.size.width)]

    def open_row(self, i: int) -> None:
        self.go(to_prompt(self.run_, self.cursor, i))


class LayersPage(BrowserChild):
    table: LayerTable

    def __init__(self, browser: BrowserPage) -> None:
        super().__init__(browser)
        self.prompt = browser.opened.prompt(self.cursor)
        self.table = LayerTable([], self.prompt)

    def on_mount(self) -> None:
        def work(stop: Stop, send: Send) -> None:
            with self.run_.another_reader() as reader:
                for r in until(layer_lines(reader, self.prompt, include_bos=self.browser.include_bos), stop):
                    send(r)

        self.start("layers", work)

    def arrived(self, job: str, data: Any) -> None:
        self.table = LayerTable([*self.table.rows, data], self.prompt)
        at_cursor = data.layer == self.cursor.layer
        self.draw(len(self.table) - 1 if at_cursor else None)

    def failed(self, job: str, text: str) -> None:
        self.table.empty = text
        self.draw()

    def head(self) -> Sequence[Line]:
        bos = "first position included" if self.browser.include_bos else "first position excluded"
        return [
            line(Span("layers on ", "title"), Span(safe(self.prompt.probe_id), "title"), Span(f"  {bos}", "dim")),
            line(Span(beginning(self.prompt.text))),
        ]

    def open_row(self, i: int) -> None:
        r = self.table.rows[i]
        if r.neuron is None or r.pos is None:
            self.show_message(f"layer {r.layer} has no finite value on this prompt")
        else:
            self.go(self.cursor._replace(layer=r.layer, neuron=r.neuron, pos=r.pos))


class TopPage(BrowserChild):
    table: TopTable

    def __init__(self, browser: BrowserPage) -> None:
        super().__init__(browser)
        self.table = TopTable([])
        try:
            self.table = TopTable(browser.opened.top(self.cursor))
        except (ProjectError, OSError) as e:
            self.table.empty = fault_text(e)

    def head(self) -> Sequence[Line]:
        p = self.browser.opened.prompt(self.cursor)
        where = f" (token {self.cursor.pos} of {safe(p.probe_id)}), over all stored layers"
        return [
            line(Span("top neurons at ", "title"), Span(token_text(p.tokens[self.cursor.pos]), "token"), where),
            line(Span(beginning(p.text), "dim")),
        ]

    def open_row(self, i: int) -> None:
        at = self.table.rows[i].at
        self.go(self.cursor._replace(layer=at.layer, neuron=at.neuron))


class StackPage(BrowserChild):
    """One neuron on every prompt; rows appear while the run is read."""

    BINDINGS = bindings(STACK)
    OWN_KEYS = (*STACK, *ROWS)
    FOOTER = footer(ROWS, STACK, COMMON)

    table: StackTable

    def __init__(self, browser: BrowserPage) -> None:
        super().__init__(browser)
        self.table = StackTable(
            browser.opened, browser.cursor.at, include_bos=browser.include_bos, wanted=browser.wanted,
            plain=browser.app.plain,
        )  # fmt: skip
        self._by_peak = False

    def on_mount(self) -> None:
        def work(stop: Stop, send: Send) -> None:
            with self.run_.another_reader() as reader:
                rows = until(each_prompt(reader, self.cursor.at, include_bos=self.browser.include_bos), stop)
                while batch := list(islice(rows, _BATCH)):
                    send(batch)

        self.start("stack", work)

    def arrived(self, job: str, data: Any) -> None:
        self.table.add(data)
        here = self.cursor.prompt if len(self.table) > self.cursor.prompt >= len(self.table) - len(data) else None
        self.table.sort(by_peak=self._by_peak)
        self.draw(None if self._by_peak else here)

    def again(self, browser: BrowserPage) -> StackPage:
        page = StackPage(browser)
        page._by_peak = self._by_peak
        return page

    def failed(self, job: str, text: str) -> None:
        self.table.empty = text
        self.show_message(text)
        self.draw()

    def head(self) -> Sequence[Line]:
        order = "largest |act| first" if self._by_peak else "in run order"
        more = "" if "stack" not in self.waiting else ", reading ..."
        count = f"  {len(self.table)} of {len(self.run_.prompts)} prompts, {order}{more}"
        bad = sum(1 for r in self.table.rows if r.fault)
        unread = Span(f"  {bad} cannot be read" if bad else "", "warn")
        head = [line(Span(f"{self.cursor.at.label} on every prompt", "title"), Span(count, "dim"), unread)]
        first = next((r.fault_line for r in self.table.rows if r.fault_line), "")
        head += [line(Span(part, "warn")) for part in wrap(safe(first), self.size.width)] if first else []
        legend = self.table.legend(self.size.width)
        return [*head, line(Span(legend, "dim"))] if legend else head

    def open_row(self, i: int) -> None:
        r = self.table.rows[i]
        self.go(self.cursor._replace(prompt=r.prompt_index, pos=r.stats.peak_pos or 0))

    def idle(self) -> Line:
        i = self.rows.cursor or 0
        if i >= len(self.table):
            return super().idle()
        row = self.table.rows[i]
        predicted = self.browser.opened.predicted(row.prompt_index)
        more = Span(f"  {safe(row.fault)}", "warn") if row.fault else Span(f"   {predicted}", "title")
        return line(*super().idle(), more)

    def action_sort(self) -> None:
        self._by_peak = not self._by_peak
        self.table.sort(by_peak=self._by_peak)
        self.draw(0)
