"""True and simulated activations of one explanation, over its page, the browser or the corpus screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from neuron_signatures.tui.export import EXPORT_COLUMNS
from neuron_signatures.tui.keys import ROWS, SIMULATED, SIMULATED_FOOTER, bindings
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.text import Line, Span, line, line_text
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.scores.printed import read_simulated, simulated_head, simulated_printed, token_copied
from neuron_signatures.tui.scores.reading import Simulated
from neuron_signatures.tui.scores.windows import SimulatedTable, simulated_table
from neuron_signatures.tui.screens.over_neuron import Opener, OverNeuron

_MARGIN = 4
"""Columns of the cursor and of the edges of the table."""


class SimulatedPage(OverNeuron):
    """The windows that a scored set stores, one line per token. A thread reads them."""

    BINDINGS = bindings(SIMULATED)
    OWN_KEYS = (*SIMULATED, *(k for k in ROWS if k.names != "enter"))
    FOOTER: ClassVar[list[tuple[str, str]]] = SIMULATED_FOOTER

    table: SimulatedTable | None

    def __init__(self, opener: Opener, id_: str = "", name: str = "", row: int = 0) -> None:
        """`id_`: the explanation, without one the first that has windows; `name`: the scored set, else the first."""
        super().__init__(opener)
        self.table = None
        self._explanation, self._set, self._row = id_, name, row
        self._found: Simulated | None = None
        self._whole: set[int] = set()
        """The windows that are shown with all tokens."""
        self._columns = 0
        self._fault = ""

    def again(self, opener: Opener) -> SimulatedPage:
        return SimulatedPage(opener, self._explanation, self._set, self.rows.cursor or 0)

    def read(self) -> None:
        opened, at, id_, name = self.opened, self.opener.cursor.at, self._explanation, self._set
        self.start("read", lambda stop, send: send(read_simulated(opened, at, id_, name)))

    def arrived(self, job: str, data: Any) -> None:
        before = self.rows.cursor if self.table is not None else None
        self._found, self._fault, self._columns, self.table = data, "", 0, None
        self._explanation = data.explanation_id
        self._set = data.shown.name if data.shown is not None else self._set
        self._row = before if before is not None else self._row
        self.draw(self._row)

    def failed(self, job: str, text: str) -> None:
        self._fault, self._found, self.table = text, None, None
        self.draw()

    def head(self) -> Sequence[Line]:
        if self._found is None:
            return [line(Span(f"{self.opener.cursor.at.label} simulated", "title"))]
        return simulated_head(self._found, self.size.width)

    def text(self, columns: int) -> Sequence[Line]:
        if self._fault:
            return fact_lines([Fact("fault", self._fault, "warn")], columns)
        if self._found is None:
            return [line("reading ...")]
        return [(), *fact_lines([Fact("", self._found.why, "warn")], columns, label_width=1)]

    def draw(self, row: int | None = None) -> None:
        columns = self.size.width
        if self._found is not None and self._found.windows and columns and columns != self._columns:
            before = None if self.table is None else self.table.place(self.rows.cursor or 0)
            self._columns = columns
            self.table = simulated_table(self._found.windows, self._whole, max(1, columns - _MARGIN))
            row = self.table.row_at(before) if row is None and before is not None else row
        if self.table is not None and row is not None:
            row = min(row, len(self.table) - 1)
        super().draw(row)

    def idle(self) -> Line:
        if self._found is None or self.table is None:
            return ()
        place = self.table.place(min(self.rows.cursor or 0, len(self.table) - 1))
        where = f"window {place.window + 1} of {len(self._found.windows)}"
        return line(Span(where, "dim"), *self._more())

    def open_row(self, i: int) -> None:
        """Show all tokens of the window, or those near peaks and mistakes."""
        assert self.table is not None
        self._whole ^= {self.table.rows[i].window}
        self._lay_out()

    def copied(self) -> str:
        if self.table is None or self._found is None:
            return ""
        text = " ".join(line_text(self.table.line_of(self.rows.cursor or 0)).split())
        return token_copied(self._found, text)

    def exported(self) -> Printed:
        found = self._found
        if found is None:
            return super().exported()
        printed = simulated_printed(self.opened, found, EXPORT_COLUMNS, most=0, whole=True)
        return printed._replace(record={"screen": "simulated", **printed.record})

    def action_section(self, by: int) -> None:
        """Move the cursor to the title of the next or previous window, and show as much of it as fits."""
        if self.table is not None:
            first = self.table.section(self.rows.cursor or 0, by)
            self.rows.move(first - (self.rows.cursor or 0))
            self.rows.reveal(first, self.table.last_of(first))
            self.draw_status()

    def action_all(self) -> None:
        if self._found is not None:
            every = set(range(len(self._found.windows)))
            self._whole = set() if self._whole == every else every
            self._lay_out()

    def action_scorer(self) -> None:
        """Show what the next scorer predicted from the same explanation."""
        found = self._found
        if found is None or len(found.options) < 2:
            self.show_message("no other scorer predicts activations from this explanation")
            return
        self._set = found.options[(found.chosen + 1) % len(found.options)].name
        self._row, self._whole, self.table = 0, set(), None
        self.read()

    def _lay_out(self) -> None:
        self._columns = 0
        self.draw()
