"""The browser: one neuron on one prompt, token by token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.geometry import Size

from neuron_signatures.tui.export import EXPORT_COLUMNS
from neuron_signatures.tui.keys import BROWSER, BROWSER_FOOTER, bindings
from neuron_signatures.tui.layout.text import Line, Span, clip, column_widths, line, safe, table_head, table_row
from neuron_signatures.tui.layout.widgets import Block, Rows
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.panes import Panes, foot_lines, head_lines, panes, side_lines
from neuron_signatures.tui.run.about import browser_printed, copied_text
from neuron_signatures.tui.run.cursor import JUMPS, Axis, move
from neuron_signatures.tui.run.opened_run import Notes
from neuron_signatures.tui.run.opening import OpenResult
from neuron_signatures.tui.screens.browser_state import BrowserState
from neuron_signatures.tui.screens.input_box import Ask
from neuron_signatures.tui.screens.page import Page
from neuron_signatures.tui.screens.walking import open_walk
from neuron_signatures.tui.tables.ranked_list import ListTable, Walk
from neuron_signatures.tui.tables.tokens import TokenTable, TokenView, token_view
from neuron_signatures.views.neurons.descriptions import NOTHING
from neuron_signatures.views.neurons.facts import stages_of
from neuron_signatures.views.scale import ScaleOf

MakePage = Callable[["BrowserPage", Options], Page | None]
QUESTIONS = {
    "neuron": "neuron: 508, 17/5863, L17N5863 or MODEL/17/5863",
    "layer": "layer",
    "token": "token position; -1 is the last",
}
_SCALES: dict[ScaleOf, str] = {
    "run": "one scale over the run", "prompt": "the scale of this prompt", "records": "the scale of the corpus",
}  # fmt: skip


class BrowserPage(BrowserState):
    """Draws what the state holds, and changes it by keys and mouse."""

    CSS = """
    BrowserPage Horizontal { height: 1fr; }
    BrowserPage Vertical { width: 1fr; height: 1fr; }
    BrowserPage #list { padding: 0 1 0 0; }
    BrowserPage #side { padding: 0 0 0 2; }
    """
    BINDINGS = bindings(BROWSER)
    OWN_KEYS = BROWSER
    FOOTER: ClassVar[list[tuple[str, str]]] = BROWSER_FOOTER
    KEY_LINES: ClassVar[int] = 2

    def __init__(self, result: OpenResult, options: Options, make_page: MakePage) -> None:
        """`make_page` makes the page over this browser that `Options.screen` names."""
        super().__init__(result, options)
        self._make_page = make_page
        self._listed: ListTable | None = None
        self._head_lines: dict[Size, int] = {}
        """Most lines of the head at the current size: the table below does not move from prompt to prompt."""
        self._first_pos = 0
        """Position in the first row of the table."""
        self._begins_with_search = options.screen == "search" and not options.query
        self._stages = stages_of(self.opened.run.path)

    def on_mount(self) -> None:
        self.app.cursor = self.cursor
        if self._landed:
            self.waiting.add("landing")
            self.call_after_refresh(self._read_landing)
        if self._begins_with_search:
            self.call_after_refresh(self.action_search)

    def compose(self) -> ComposeResult:
        yield Block("head")
        with Horizontal():
            yield Rows("list")
            with Vertical():
                yield Rows("rows")
                yield Block("foot")
            yield Rows("side")
        yield Block("status")
        yield Block("keys")

    def draw(self) -> None:
        columns, height = self.size
        view, notes, plain = self.view(), self.opened.notes.get(self.cursor.at), self.app.plain
        widths = panes(columns)
        head = head_lines(self.opened, view, notes, columns, height, plain=plain)
        before = self._head_lines.get(self.size, 0)
        head += [()] * (before - len(head))
        self._head_lines = {self.size: len(head)}
        self.block("head").show([clip(x, columns) for x in head])
        table = TokenTable(view, None if self.all_tokens else self.window)
        self._draw_tokens(table, widths.tokens, height)
        self.draw_status()
        below = len(self.block("status").lines) + len(self.block("keys").lines)
        room = height - len(head) - below - len(self.rows.head)
        foot = foot_lines(self.opened, view, room - len(table), columns, height, plain=plain)
        self.block("foot").show([clip(x, widths.tokens) for x in foot])
        self.rows.styles.height = max(1, min(len(table), room - len(foot))) + len(self.rows.head)
        self._draw_list(widths.listed)
        self._draw_side(view, notes, widths)
        self._read_more_later(view, notes)

    def _draw_tokens(self, table: TokenTable, columns: int, height: int) -> None:
        widths = column_widths(table.columns(), columns)
        self.rows.show(
            len(table), lambda i, w: table_row(table, i, widths, cursor=i == table.cursor_row),
            cursor=table.cursor_row, head=[table_head(table.columns(), widths)] if height >= 8 else [],
        )  # fmt: skip
        self._first_pos = table.positions.start

    def idle(self) -> Line:
        if "landing" in self.waiting and not self.walk:
            return line(Span("reading the list ...", "dim"))
        n = self.opened.prompt(self.cursor).seq_len
        shown = f"all {n}" if self.all_tokens or n <= self.window else f"{self.window} of {n}"
        if self.listed:
            label = self.listed.label(self.cursor.at) or f"{shown} tokens"
        else:
            label = self.walk.label(self.cursor) if self.walk else f"{shown} tokens"
        return line(Span(label, "dim"))

    def _draw_list(self, columns: int) -> None:
        """The open list, otherwise the default one, at the left."""
        pane = self.query_one("#list", Rows)
        pane.display = columns > 0
        if not columns:
            return
        pane.styles.width = columns
        view = self.walk.view if self.walk else self._default
        landed = "landing" not in self.waiting
        if landed and not self._default_read and (view is None or view.ranked.described is NOTHING):
            self._read_default(view)
        if view is None:
            text = "no ranked list" if self._default_read else "reading ..."
            pane.show(1, lambda i, w: line(Span(text, "dim")), cursor=None)
            return
        if self._listed is None or self._listed.view is not view:
            self._listed = ListTable(view, self.run_)
        table, columns = self._listed, columns - 1
        widths = column_widths(table.columns(), columns)
        row = self.walk.index if self.walk and self.walk.row().at == self.cursor.at else None
        head = [clip(line(Span(safe(view.ranked.ref.title), "title")), columns), table_head(table.columns(), widths)]
        if len(table):
            pane.show(len(table), lambda i, w: table_row(table, i, widths, cursor=i == row), cursor=row, head=head)
        else:
            pane.show(1, lambda i, w: line(Span(table.empty, "dim")), cursor=None, head=head)

    def _draw_side(self, view: TokenView, notes: Notes | None, widths: Panes) -> None:
        side = self.query_one("#side", Rows)
        side.display = widths.side > 0
        if widths.side:
            side.styles.width = widths.side
            columns = widths.side - 2
            lines = side_lines(self.opened, view, notes, self._stages, columns, widths, plain=self.app.plain)
            side.show(len(lines), lambda i, w: clip(lines[i], w), cursor=None)

    def action_move(self, axis: Axis, by: int) -> None:
        self.go(*move(self.run_, self.cursor, axis, by))

    def action_extreme(self, which: str) -> None:
        view = token_view(self.opened, self.cursor, include_bos=self.include_bos)
        pos = None if view.stats is None else view.stats.max_pos if which == "max" else view.stats.min_pos
        if pos is None:
            self.show_message(f"cannot be read: {view.brief}" if view.fault else "no value is included on this prompt")
        else:
            self.go(self.cursor._replace(pos=pos))

    def action_all_tokens(self) -> None:
        self.all_tokens = not self.all_tokens
        self.app.options = replace(self.app.options, all_tokens=self.all_tokens)
        self.go(self.cursor, "all tokens" if self.all_tokens else f"{self.window} tokens")

    def action_relative(self) -> None:
        """Show (act - mean) / std, or the activations; what a neuron shows by itself is no choice for the next one."""
        view = self.view()
        spread = view.overall.spread if view.overall else None
        if spread is None or spread.std == 0:
            why = "all activations are equal" if spread else "no statistics over the run yet"
            self.show_message(why)
            return
        new = view.scaling.spread is None
        self.wanted = self.wanted._replace(relative=None if new == bool(spread.always_on) else new)
        shown = "z: (act - mean) / std over the run" if new else "activations"
        self.go(self.cursor, f"bars and colours show {shown}")

    def action_scale(self) -> None:
        """The next scale; that of the corpus only for a neuron that is recorded."""
        after: dict[ScaleOf, ScaleOf] = {"run": "prompt", "prompt": "records", "records": "run"}
        new = after[self.wanted.scope]
        if new == "records" and self.opened.extremes(self.cursor.at) is None:
            new = "run"
        self.wanted = self.wanted._replace(scope=new)
        self.go(self.cursor, _SCALES[new])

    def action_bos(self) -> None:
        self.include_bos = not self.include_bos
        self.app.options = replace(self.app.options, include_bos=self.include_bos)
        self.go(self.cursor, f"first position {'included' if self.include_bos else 'excluded'}")

    def action_walk(self, by: int) -> None:
        """Open the next or previous row of the open list."""
        if self.listed is not None:
            step = self.listed.step(by, self.run_)
            if step is None:
                self.show_message(f"this is the {'last' if by > 0 else 'first'} neuron of the list")
            else:
                self.open_explained(step)
            return
        found = self.next_of_list(by)
        if isinstance(found, str):
            self.show_message(found)
        elif found is not None:
            open_walk(self, found, "looking for the peak ...")

    def on_rows_clicked(self, event: Rows.Clicked) -> None:
        """Move to the token or open the row; a click on the token under the cursor shows the neuron on every prompt."""
        if event.rows.id == "rows":
            pos = self._first_pos + event.index
            if pos == self.cursor.pos:
                self.action_open("stack")
            else:
                self.go(self.cursor._replace(pos=pos))
        elif event.rows.id == "list" and self._listed is not None and event.index < len(self._listed):
            walk = Walk(self._listed.view, event.index)
            row = walk.row()
            if self.run_.stores(*row.at):
                open_walk(self, walk, "looking for the peak ...")
            else:
                self.show_message(f"layer {row.at.layer} is not stored")

    def on_rows_wheeled(self, event: Rows.Wheeled) -> None:
        if event.rows.id == "rows":
            self.action_move("token", event.by)
        else:
            event.rows.roll(event.by)

    def copied(self) -> str:
        """The neuron's name and what it writes, on one line."""
        return copied_text(self.view(), self.opened.notes.get(self.cursor.at))

    def exported(self) -> Printed:
        notes = self.opened.notes.get(self.cursor.at)
        printed = browser_printed(self.view(), notes, self.all_tokens, self.window, EXPORT_COLUMNS)
        return printed._replace(record={"screen": "browser", **printed.record})

    def action_ask(self, what: str) -> None:
        self.app.push_screen(Ask(QUESTIONS[what], lambda text: self.go(JUMPS[what](self.run_, self.cursor, text))))

    def action_search(self) -> None:
        from neuron_signatures.tui.screens.search import ask_search  # imports this module

        ask_search(self, self)

    def action_open(self, name: str) -> None:
        page = self._make_page(self, replace(self.app.options, screen=name))
        assert page is not None
        self.app.push_screen(page)
