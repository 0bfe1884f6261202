"""Screens with text: notes on a neuron, facts about the run, help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuron_signatures.tui.keys import SECTIONS, Key
from neuron_signatures.tui.layout.facts import Fact, fact_lines, notes_facts
from neuron_signatures.tui.layout.text import Line, Span, line, safe
from neuron_signatures.tui.opened_run import Notes, OpenResult, notes_of
from neuron_signatures.tui.run_facts import fault_facts, health_of, run_facts
from neuron_signatures.tui.screens.browser import BrowserChild, BrowserPage
from neuron_signatures.tui.screens.page import Send, Stop, TextPage
from neuron_signatures.views.facts import stages_of


class NotesPage(TextPage, BrowserChild):
    def __init__(self, browser: BrowserPage) -> None:
        super().__init__(browser)
        self._notes: Notes | None = None
        self._stages = stages_of(self.run_.path)

    def on_mount(self) -> None:
        self.start("notes", lambda stop, send: send(notes_of(self.run_, self.cursor.at)))

    def arrived(self, job: str, data: Any) -> None:
        self._notes = data
        self.draw()

    def head(self) -> Sequence[Line]:
        return [line(Span(f"notes on {self.cursor.at.label}", "title"))]

    def text(self, columns: int) -> Sequence[Line]:
        return fact_lines(notes_facts(self.cursor.at, self._notes, self._stages), columns)


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

    def head(self) -> Sequence[Line]:
        return [line(Span("keys", "title"), Span("  Esc goes back", "dim"))]

    def text(self, columns: int) -> Sequence[Line]:
        own = [s for s in SECTIONS if s[1][0] in self.first]
        facts = []
        for title, keys in [*own, *(s for s in SECTIONS if s not in own)]:
            facts += [Fact(title), *(Fact(k.shown, k.words) for k in keys)]
        return fact_lines(facts, columns, label_width=8)
