"""The browser: one neuron on one prompt, token by token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.geometry import Size
from textual.timer import Timer

from neuron_signatures.runs.run import Run
from neuron_signatures.tui.export import EXPORT_COLUMNS
from neuron_signatures.tui.keys import BROWSER, BROWSER_FOOTER, bindings
from neuron_signatures.tui.layout.text import Line, Span, clip, column_widths, line, safe, table_head, table_row
from neuron_signatures.tui.layout.widgets import Block, Rows
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.panes import Panes, foot_lines, head_lines, panes, side_lines
from neuron_signatures.tui.run.about import browser_printed, copied_text
from neuron_signatures.tui.run.cursor import JUMPS, Axis, Cursor, move
from neuron_signatures.tui.run.opened_run import Notes, OpenedRun, notes_of
from neuron_signatures.tui.run.opening import OpenResult, default_view, landing
from neuron_signatures.tui.run.overall import Overall, read_overall
from neuron_signatures.tui.run.scaling import AS_IT_IS
from neuron_signatures.tui.screens.input_box import Ask
from neuron_signatures.tui.screens.page import Page, Send, Stop
from neuron_signatures.tui.screens.walking import open_walk
from neuron_signatures.tui.tables.ranked_list import ListTable, ListView, Walk
from neuron_signatures.tui.tables.tokens import TokenTable, TokenView, token_view
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.descriptions import NOTHING
from neuron_signatures.views.neurons.facts import stages_of

MakePage = Callable[["BrowserPage", Options], Page | None]
QUESTIONS = {
    "neuron": "neuron: 508, 17/5863, L17N5863 or MODEL/17/5863",
    "layer": "layer",
    "token": "token position; -1 is the last",
    "search": 'token to search for; "Austin" in quotes matches exactly that token',
}
_SCALES = {
    "run": "one scale over the run", "prompt": "the scale of this prompt", "records": "the scale of the corpus",
}  # fmt: skip


class BrowserPage(Page):
    """Owns the cursor, the BOS setting and the open list (`walk`)."""

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
        super().__init__()
        assert result.opened is not None and result.cursor is not None
        self.result = result
        self._make_page = make_page
        self.opened: OpenedRun = result.opened
        self.cursor: Cursor = result.cursor
        self.window = options.window
        self.all_tokens = options.all_tokens
        self.include_bos = options.include_bos
        self.wanted = AS_IT_IS
        self.walk: Walk | None = result.walk
        self._options = options
        self._landed = result.cursor if result.listed else None
        """Where a list starts that is still to be read."""
        self._default: ListView | None = None
        """The list beside the tokens while none is open."""
        self._default_read = False
        self._listed: ListTable | None = None
        self._head_lines: dict[Size, int] = {}
        """Most lines of the head at the current size: the table below does not move from prompt to prompt."""
        self._first_pos = 0
        """Position in the first row of the table."""
        self._begins_with_search = options.screen == "search" and not options.query
        self._stages = stages_of(self.opened.run.path)
        self._rest: Timer | None = None
        self._read_for: tuple[NeuronAt, bool] | None = None
        """Neuron and BOS setting for which a thread last read all prompts."""

    def on_mount(self) -> None:
        self.app.cursor = self.cursor
        if self._landed:
            self.waiting.add("landing")
            self.call_after_refresh(self._read_landing)
        if self._begins_with_search:
            self.call_after_refresh(self.action_ask, "search")

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

    @property
    def run_(self) -> Run:
        return self.opened.run

    def keep_walk(self, before: BrowserPage) -> None:
        """Keep the scale, and the open list of the browser before a reload, if its files are unchanged."""
        self.wanted, self._landed = before.wanted, before._landed
        if before.walk is None:
            return
        view = before.walk.view
        if view.files and view.files == self.opened.list_stamps(view.ranked.ref):
            self.walk = before.walk
        else:
            self.message = "the open list has changed; w shows the lists"

    def go(self, cursor: Cursor, message: str = "", *, walk: Walk | None = None) -> None:
        """Move to a cursor and redraw. `walk`: the list that is open from now on; None: the same as before."""
        self.cursor, self.message, self.walk = cursor, message, walk or self.walk
        self.app.cursor = cursor
        self.draw()
        self.app.painted("move")

    def view(self) -> TokenView:
        """What is shown at the cursor."""
        overall = self.opened.overall(self.cursor.at, self.include_bos)
        return token_view(self.opened, self.cursor, include_bos=self.include_bos, overall=overall, wanted=self.wanted)

    def draw(self) -> None:
        columns, height = self.size
        view, notes, plain = self.view(), self.opened.notes.get(self.cursor.at), self.app.plain
        widths = panes(columns)
        head = head_lines(view, notes, columns, height, plain=plain)
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
        return line(Span(self.walk.label(self.cursor) if self.walk else f"{shown} tokens", "dim"))

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

    def _read_landing(self) -> None:
        """Read the list on which the run was opened, in a thread, now that its first neuron is shown."""
        opened, options = self.opened, self._options

        def work(stop: Stop, send: Send) -> None:
            with opened.table_lock:
                send(landing(opened, options))

        self.start("landing", work)

    def _read_default(self, light: ListView | None) -> None:
        """Read the list beside the tokens, or what it says of its neurons (of `light`), in a thread."""
        if "default" in self.waiting:
            return
        opened = self.opened

        def work(stop: Stop, send: Send) -> None:
            with opened.table_lock:
                send(ListView.read(opened, light.ranked.ref) if light else default_view(opened, described=True))

        self.start("default", work)

    def _draw_side(self, view: TokenView, notes: Notes | None, widths: Panes) -> None:
        side = self.query_one("#side", Rows)
        side.display = widths.side > 0
        if widths.side:
            side.styles.width = widths.side
            columns = widths.side - 2
            lines = side_lines(self.opened, view, notes, self._stages, columns, widths, plain=self.app.plain)
            side.show(len(lines), lambda i, w: clip(lines[i], w), cursor=None)

    def _read_more_later(self, view: TokenView, notes: Notes | None) -> None:
        """Once the cursor rests, read all prompts and the tables in a thread."""
        if self._rest is not None:
            self._rest.stop()
        if self._read_for != (self.cursor.at, self.include_bos):
            self.abandon("more")  # a thread that reads another neuron would delay this one
        needed = (view.overall is None and not view.fault, notes is None)
        if any(needed):
            self.waiting.add("more")
            self._rest = self.set_timer(self.app.rest_seconds, lambda: self._read_more(*needed))

    def _read_more(self, overall: bool, notes: bool) -> None:
        opened, at, include_bos = self.opened, self.cursor.at, self.include_bos
        if "more" in self._tickets and self._read_for == (at, include_bos):
            return  # already reading
        self._read_for = (at, include_bos)

        def work(stop: Stop, send: Send) -> None:
            with opened.table_lock:
                if notes and not stop():
                    send((at, include_bos, notes_of(opened.run, at)))
            found = read_overall(opened.run, at, include_bos=include_bos, stop=stop) if overall else None
            if found is not None:
                usable = bool(found.fault) or opened.is_current()
                send((at, include_bos, found if usable else Overall(fault="the files changed; r reloads them")))

        self.start("more", work)

    def arrived(self, job: str, data: Any) -> None:
        if job == "walk":
            cursor, walk = data
            self.go(cursor, walk=walk)
            return
        if job == "landing":
            self.abandon(job)
            cursor, walk = data
            if self.walk is None and self.cursor == self._landed:
                self.cursor = self.app.cursor = cursor  # another one only if the table contradicts the JSON
            self.walk, self._landed = self.walk or walk, None
            self.draw()
            return
        if job == "default":
            self._default, self._default_read = data, True
            if self.walk and data and self.walk.view.ranked.described is NOTHING:
                self.walk = replace(self.walk, view=data)
            self.draw()
            return
        self.opened.remember(*data)
        self.draw()

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
        order = ["run", "prompt", *(["records"] if self.opened.extremes(self.cursor.at) else [])]
        new = order[(order.index(self.wanted.scope) + 1) % len(order)] if self.wanted.scope in order else "run"
        self.wanted = self.wanted._replace(scope=new)
        self.go(self.cursor, _SCALES[new])

    def action_bos(self) -> None:
        self.include_bos = not self.include_bos
        self.app.options = replace(self.app.options, include_bos=self.include_bos)
        self.go(self.cursor, f"first position {'included' if self.include_bos else 'excluded'}")

    def action_walk(self, by: int) -> None:
        """Open the next or previous row of the open list."""
        found = self.next_of_list(by)
        if isinstance(found, str):
            self.show_message(found)
        elif found is not None:
            open_walk(self, found, "looking for the peak ...")

    def next_of_list(self, by: int) -> Walk | str | None:
        """The next or previous stored row of the open list, or why there is none; None while the list is read."""
        now = self.walk or (Walk(self._default, -1) if self._default else None)
        if now is None and "landing" in self.waiting:
            return None  # the status line says so
        if now is None:
            return "no list is open: w shows the lists, Enter opens a row"
        return now.step(by, self.run_) or f"this is the {'last' if by > 0 else 'first'} stored neuron of the list"

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
        def accept(text: str) -> None:
            if what == "search":
                self.call_later(self.action_open, "search", text)
            else:
                self.go(JUMPS[what](self.run_, self.cursor, text))

        self.app.push_screen(Ask(QUESTIONS[what], accept))

    def action_open(self, name: str, query: str | None = None) -> None:
        page = self._make_page(self, replace(self.app.options, screen=name, query=query))
        assert page is not None
        self.app.push_screen(page)
