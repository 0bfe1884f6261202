"""Screens with text: notes on a neuron, facts about the run, help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuron_signatures.tui.keys import SECTIONS, Key
from neuron_signatures.tui.layout.coloured import LEGENDS
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.text import Line, Span, line, safe
from neuron_signatures.tui.run.about import details
from neuron_signatures.tui.run.opening import OpenResult
from neuron_signatures.tui.run.overall import read_overall
from neuron_signatures.tui.run.run_facts import fault_facts, health_of, run_facts
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.browser_child import BrowserChild
from neuron_signatures.tui.screens.page import Page, Send, Stop, TextPage
from neuron_signatures.views.neurons.facts import stages_of


class NotesPage(TextPage, BrowserChild):
    """Details of the neuron: what it writes, its strongest prompts, signatures and statistics."""

    def __init__(self, browser: BrowserPage) -> None:
        super().__init__(browser)
        self._stages = stages_of(self.run_.path)

    def on_mount(self) -> None:
        """Read what the browser has not read."""
        opened, at, include_bos = self.browser.opened, self.cursor.at, self.browser.include_bos
        overall = opened.overall(at, include_bos) is None
        if not overall and at in opened.notes:
            return

        def work(stop: Stop, send: Send) -> None:
            with opened.table_lock:
                send(opened.notes_of(at))
            found = read_overall(opened.run, at, include_bos=include_bos, stop=stop) if overall else None
            if found is not None:
                send(found)

        self.start("notes", work)

    def arrived(self, job: str, data: Any) -> None:
        self.browser.opened.remember(self.cursor.at, self.browser.include_bos, data)
        self.draw()

    def head(self) -> Sequence[Line]:
        return [line(Span(f"details of {self.cursor.at.label}", "title"))]

    def text(self, columns: int) -> Sequence[Line]:
        notes = self.browser.opened.notes.get(self.cursor.at)
        return details(self.browser.view(), notes, self._stages, columns, plain=self.app.plain)

    def copied(self) -> str:
        return self.browser.copied()


class FactsPage(TextPage):
    """Facts about the run; for a folder that cannot be opened, the fault and its manifest."""

    def __init__(self, result: OpenResult) -> None:
        super().__init__()
        self._result = result
        self._facts = [Fact("facts", "reading ...")]

    def on_mount(self) -> None:
        def work(stop: Stop, send: Send) -> None:
            o = self._result
            if o.opened is None:
                send(fault_facts(o.run_dir, o.fault))
                return
            with o.opened.run.another_reader() as reader:
                send(run_facts(reader, health_of(reader)))

        self.start("facts", work)

    def reopen(self, result: OpenResult, first: Page, under: Page) -> Page:
        return FactsPage(result)

    def arrived(self, job: str, data: Any) -> None:
        self._facts = data
        self.draw()

    def head(self) -> Sequence[Line]:
        broken = Span("  cannot be opened; r retries", "warn") if self._result.opened is None else Span("")
        return [line(Span("run ", "dim"), Span(safe(str(self._result.run_dir)), "title"), broken)]

    def text(self, columns: int) -> Sequence[Line]:
        return fact_lines(self._facts, columns)


class HelpPage(TextPage):
    """All keys, beginning with those of the previous screen."""

    def __init__(self, first: tuple[Key, ...]) -> None:
        super().__init__()
        self.first = first

    def reopen(self, result: OpenResult, first: Page, under: Page) -> Page:
        return HelpPage(self.first)

    def head(self) -> Sequence[Line]:
        return [line(Span("keys", "title"), Span("  Esc goes back", "dim"))]

    def text(self, columns: int) -> Sequence[Line]:
        own = [s for s in SECTIONS if set(s[1]) <= set(self.first)]
        facts = []
        for title, keys in [*own, *(s for s in SECTIONS if s not in own)]:
            facts += [Fact(title), *(Fact(k.shown, k.words) for k in keys)]
        facts += [Fact("Colours and marks"), *(Fact("", text) for text in LEGENDS)]
        return fact_lines(facts, columns, label_width=8)
