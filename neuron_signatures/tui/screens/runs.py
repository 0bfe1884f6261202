"""The list of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from neuron_signatures.runs.listing import RunSummary, list_runs
from neuron_signatures.tui.layout.text import Line, Span, line, safe
from neuron_signatures.tui.run.overall import until
from neuron_signatures.tui.screens.page import Send, Stop, TablePage
from neuron_signatures.tui.tables.listings import RunTable, no_runs, scores_text


class RunsPage(TablePage):
    """The runs of a folder. While the folder is read again, the old rows stay."""

    table: RunTable

    def __init__(self, root: Path, open_run: Callable[[Path], None]) -> None:
        super().__init__()
        self.root = root
        self._open_run = open_run
        self.table = RunTable([])
        self._found: list[RunSummary] = []
        self._fault = ""

    def on_mount(self) -> None:
        self.read()

    def on_screen_resume(self) -> None:
        self.message = ""  # that a run is being read
        self.draw()

    def read(self) -> None:
        def work(stop: Stop, send: Send) -> None:
            for r in until(list_runs(self.root), stop):
                send(r)

        self._found, self._fault = [], ""
        if not len(self.table):
            self.table = RunTable(self._found)
        self.start("runs", work)
        self.draw()

    def arrived(self, job: str, data: Any) -> None:
        self._found.append(data)
        if self.table.rows is self._found:
            self.draw()

    def ended(self, job: str) -> None:
        at = self.rows.cursor or 0
        names = [r.name for r in self._found]
        name = self.table.rows[at].name if at < len(self.table) else ""
        self.table = RunTable(self._found, empty=self._fault or no_runs(self.root))
        self.draw(names.index(name) if name in names else None)

    def failed(self, job: str, text: str) -> None:
        self._fault = text

    def head(self) -> Sequence[Line]:
        count = f"  {len(self.table)}" + (", reading ..." if "runs" in self.waiting else "")
        return [line(Span("runs in ", "dim"), Span(safe(str(self.root)), "title"), Span(count, "dim"))]

    def problem(self, i: int) -> str:
        return self.table.rows[i].problem

    def idle(self) -> Line:
        """With the scores of the run under the cursor, which have no column."""
        i = self.rows.cursor or 0
        scores = scores_text(self.table.rows[i]) if i < len(self.table) else ""
        return line(*super().idle(), Span(f"  {scores}", "dim")) if scores else super().idle()

    def open_row(self, i: int) -> None:
        name = self.table.rows[i].name
        self.show_message(f"reading {safe(name)} ...")
        self._open_run(self.root / name)
