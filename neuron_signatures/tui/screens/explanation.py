"""The explanations of one neuron, over the browser or the corpus screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.tui.explanations.document import ExplanationTable, Place, current_ones, document, head_lines
from neuron_signatures.tui.explanations.listing import AS_LISTED, ExplanationList
from neuron_signatures.tui.explanations.printed import copied_text, explanation_printed
from neuron_signatures.tui.explanations.reading import Sets
from neuron_signatures.tui.export import EXPORT_COLUMNS
from neuron_signatures.tui.faults import fault_text
from neuron_signatures.tui.keys import EXPLANATION, EXPLANATION_FOOTER, ROWS, bindings
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.text import Line, Span, line
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.run.cursor import JUMPS, Axis, Cursor, move
from neuron_signatures.tui.scores.reading import NeuronScores
from neuron_signatures.tui.screens.browser import QUESTIONS
from neuron_signatures.tui.screens.input_box import Ask
from neuron_signatures.tui.screens.over_neuron import Opener, OverNeuron
from neuron_signatures.tui.screens.page import Send, Stop
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.commands import nothing_text
from neuron_signatures.views.explanations.shown import NeuronExplanations

if TYPE_CHECKING:
    from neuron_signatures.tui.search.hits import HitList

_MARGIN = 4
"""Columns of the cursor and of the edges of the table."""


class ExplanationPage(OverNeuron):
    """Both poles, the explanation to read first, with provenance and chain; the others short."""

    BINDINGS = bindings(EXPLANATION)
    OWN_KEYS = (*EXPLANATION, *ROWS)
    FOOTER: ClassVar[list[tuple[str, str]]] = EXPLANATION_FOOTER

    table: ExplanationTable | None

    def __init__(self, opener: Opener, id_: str = "", row: int = 0) -> None:
        """`id_`: the explanation under the cursor at first; without one, that of `row`, or of the open list."""
        super().__init__(opener)
        listed = None if opener.listed is None else opener.listed.at(opener.listed.index)
        if listed is not None and listed.at == opener.cursor.at and not row:
            id_ = id_ or listed.id
        self.table = None
        self._found: NeuronExplanations | None = None
        self._sets = Sets()
        self._scores: NeuronScores | None = None
        self._whole: set[int] = set()
        """The explanations that are shown with all details."""
        self._sought = id_
        self._row = row
        self._columns = 0
        self._first = -1
        """The row that the cursor was put on, to be shown with its title while it is there."""
        self._fault = ""

    @property
    def cursor(self) -> Cursor:
        return self.opener.cursor

    def again(self, opener: Opener) -> ExplanationPage:
        return ExplanationPage(opener, row=self.rows.cursor or 0)

    def read(self) -> None:
        at, explained = self.cursor.at, self.opened.explained
        self._read_scores()
        if not explained.is_open:
            self.start("read", lambda stop, send: send((at, explained.of(at), explained.sets())))
            return
        try:
            self._show(explained.of(at), explained.sets())
        except (ProjectError, OSError) as e:
            self.failed("read", fault_text(e))

    def _read_scores(self) -> None:
        """Those of another neuron are read in a thread, while its explanations are shown."""
        at, scored = self.cursor.at, self.opened.scored
        self._scores = scored.known(at)
        if self._scores is None:
            self.start("scores", lambda stop, send: send(scored.of(at)))

    def arrived(self, job: str, data: Any) -> None:
        if job == "walk":
            self._open_row(data)
        elif job == "scores":
            self._show_scores(data)
        elif data[0] == self.cursor.at:
            self._show(data[1], data[2])

    def failed(self, job: str, text: str) -> None:
        if job == "read":
            self._fault, self._found, self.table = text, None, None
            self.draw()
        else:
            self.show_message(text)

    def head(self) -> Sequence[Line]:
        if self._found is None:
            return [line(Span(f"{self.cursor.at.label} explained", "title"))]
        problems = fact_lines([Fact("unread", p, "warn") for p in self._problems()], self.size.width)
        return [*head_lines(self._found, self._sets.infos), *problems]

    def _problems(self) -> list[str]:
        """The sets and the scores that cannot be read."""
        return [*self._sets.problems, *(() if self._scores is None else self._scores.problems)]

    def text(self, columns: int) -> Sequence[Line]:
        if self._fault:
            return fact_lines([Fact("fault", self._fault, "warn")], columns)
        if self._found is None:
            return [line("reading ...")]
        text = f"no explanation of {self.cursor.at.label}; . goes to the next explained neuron, W lists all"
        if not self._sets.infos and not self._sets.problems:
            text = nothing_text(self.run_.path)
        return [(), *fact_lines([Fact("", text, "warn")], columns, label_width=1)]

    def draw(self, row: int | None = None) -> None:
        columns = self.size.width
        if self._found is not None and self._found.n and columns and columns != self._columns:
            before = None if self.table is None else self.table.place(self.rows.cursor or 0)
            self._columns = columns
            self.table = self._document(self._found, columns - _MARGIN)
            row = self.table.row_at(before) if row is None and before is not None else row
        super().draw(row)
        if self.table is not None and self.rows.cursor == self._first:
            self.rows.reveal(*self.table.lines_of(self._first))

    def idle(self) -> Line:
        if self._found is None or self.table is None:
            return ()
        number = self.table.rows[min(self.rows.cursor or 0, len(self.table) - 1)].number
        listed = self.opener.listed
        label = "" if listed is None else f"   {listed.label(self.cursor.at)}"
        where = "" if number is None else f"explanation {number + 1} of {self._found.n}"
        return line(Span(where + label, "dim"))

    def open_row(self, i: int) -> None:
        """Show everything about the explanation, or its first line."""
        assert self.table is not None
        number = self.table.rows[i].number
        if number is not None:
            self._whole ^= {number}
            self._lay_out()
            if number in self._whole:
                first = self.table.row_at(Place(number, 0))
                self.rows.reveal(*self.table.lines_of(first))

    def copied(self) -> str:
        return "" if self.table is None else copied_text(self.table, self.rows.cursor or 0)

    def exported(self) -> Printed:
        printed = explanation_printed(self.opened, self.cursor.at, EXPORT_COLUMNS)
        return printed._replace(record={"screen": "explanation", **printed.record})

    def action_section(self, by: int) -> None:
        """Move the cursor to the next or previous explanation, and show as much of it as fits."""
        if self.table is not None:
            first = self.table.section(self.rows.cursor or 0, by)
            self.rows.move(first - (self.rows.cursor or 0))
            self.rows.reveal(*self.table.lines_of(first))
            self.draw_status()

    def action_all(self) -> None:
        if self._found is not None:
            every = set(range(self._found.n))
            self._whole = set() if self._whole == every else every
            self._lay_out()

    def action_move(self, axis: Axis, by: int) -> None:
        cursor, message = move(self.run_, self.cursor, axis, by)
        self._go(cursor, message)

    def action_ask(self, what: str) -> None:
        self.app.push_screen(Ask(QUESTIONS[what], lambda text: self._go(JUMPS[what](self.run_, self.cursor, text))))

    def action_walk(self, by: int) -> None:
        """The next or previous row of the open list of explanations, or neuron that has explanations."""
        listed, at, run, explained = self.opener.listed, self.cursor.at, self.run_, self.opened.explained

        def work(stop: Stop, send: Send) -> None:
            if listed is None:
                send(ExplanationList.arranged(explained.table(), AS_LISTED).beside(at, by, run) or by)
            else:
                send(listed.step(by, run) or by)

        self.start("walk", work)

    def action_simulated(self) -> None:
        """What was predicted from the explanation under the cursor; on a title, from the first one below."""
        from neuron_signatures.tui.screens.simulated import SimulatedPage  # not at the start

        if self.table is None:
            self.show_message(f"no explanation of {self.cursor.at.label}")
            return
        below = (self.table.view(i) for i in range(self.rows.cursor or 0, len(self.table)))
        view = next((v for v in below if v is not None), None)
        self.app.push_screen(SimulatedPage(self.opener, "" if view is None else view.entry.id))

    def action_explanations(self) -> None:
        from neuron_signatures.tui.screens.explanations import ExplanationsPage  # imports this module

        self.app.push_screen(ExplanationsPage(self.opener))

    def go_to(self, at: NeuronAt, id_: str = "") -> None:
        """Show another neuron, or another explanation of the same."""
        self._sought = id_
        self._go(self.cursor._replace(layer=at.layer, neuron=at.neuron))

    def _go(self, cursor: Cursor, message: str = "") -> None:
        self.message = message
        if cursor != self.cursor or not message:
            self.opener.follow(cursor)
            self._row = 0
            self.read()
        else:
            self.draw_status()

    def _open_row(self, found: ExplanationList | HitList | int) -> None:
        if isinstance(found, int):
            self.show_message(f"this is the {'last' if found > 0 else 'first'} explained neuron")
            return
        if self.opener.listed is not None:
            self.opener.keep_listed(found)
        row = found.at(found.index)
        self.go_to(row.at, row.id)

    def _show(self, found: NeuronExplanations, sets: Sets) -> None:
        """Show these explanations, those to read first with all details; of the same neuron, what was open before."""
        before, self._found, self._sets, self._fault = self._found, found, sets, ""
        ids = [v.entry.id for v in found.shown]
        if before is not None and before.at == found.at and self.table is not None and not self._sought:
            opened = {before.shown[i].entry.id for i in self._whole}
            place = self.table.place(self.rows.cursor or 0)
            self._whole = {i for i, id_ in enumerate(ids) if id_ in opened}
            self._row = self._lay_out_at(place._replace(number=_moved(place.number, before, ids)))
        else:
            self._whole = current_ones(found) | {i for i, id_ in enumerate(ids) if id_ == self._sought}
            self._first = self._row = self._lay_out_at(None)
        self._sought = ""
        self.draw(self._row)

    def _document(self, found: NeuronExplanations, columns: int) -> ExplanationTable:
        return document(found, self._scores, self.run_.path, self._whole, columns)

    def _show_scores(self, found: NeuronScores) -> None:
        """Show the scores beside the explanations; the cursor stays in its explanation."""
        if found.at != self.cursor.at:
            return
        self._scores = found
        if self.table is None:
            self.draw()
            return
        is_first = self.rows.cursor == self._first
        self._row = self._lay_out_at(self.table.place(self.rows.cursor or 0))
        self._first = self._row if is_first else -1
        self.draw(self._row)

    def _lay_out_at(self, place: Place | None) -> int:
        """Make the table for these explanations; returns the row of a place, or of the explanation to begin with."""
        self.table, self._columns = None, self.size.width
        if self._found is None or not self._found.n:
            return 0
        self.table = self._document(self._found, max(1, self._columns) - _MARGIN)
        if place is not None:
            return self.table.row_at(place)
        return self.table.row_of(self._sought) if self._sought or not self._row else self._row

    def _lay_out(self) -> None:
        self._columns = 0
        self.draw()


def _moved(number: int | None, before: NeuronExplanations, ids: Sequence[str]) -> int | None:
    """The number of an explanation among others; None if it is not there."""
    id_ = "" if number is None else before.shown[number].entry.id
    return ids.index(id_) if id_ in ids else None
