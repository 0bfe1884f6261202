"""Base classes of the screens: head, rows, status line and keys; jobs in threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.screen import Screen
from textual.worker import get_current_worker

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.tui.export import EXPORT_COLUMNS, export
from neuron_signatures.tui.faults import fault_text
from neuron_signatures.tui.keys import COMMON, ROWS, TEXT_FOOTER, Key, bindings, footer
from neuron_signatures.tui.layout.footer import bottom, key_at
from neuron_signatures.tui.layout.text import (
    Line,
    Span,
    Table,
    clip,
    column_widths,
    line,
    line_text,
    row_text,
    safe,
    table_head,
    table_row,
    wrap,
)
from neuron_signatures.tui.layout.widgets import Block, Rows
from neuron_signatures.tui.output import Printed

if TYPE_CHECKING:
    from neuron_signatures.tui.app import BrowseApp
    from neuron_signatures.tui.run.opening import OpenResult

Stop = Callable[[], bool]
Send = Callable[[Any], None]


class Page(Screen[None]):
    """A screen. `draw` is called whenever its content or size may have changed."""

    app: BrowseApp
    BINDINGS = bindings(COMMON)
    OWN_KEYS: ClassVar[tuple[Key, ...]] = ()
    FOOTER: ClassVar[list[tuple[str, str]]] = footer(COMMON)
    KEY_LINES: ClassVar[int] = 1
    """Lines of keys on terminals that are not low."""

    def __init__(self) -> None:
        super().__init__()
        self.message = ""
        self.waiting: set[str] = set()
        """Names of running jobs."""
        self._tickets: dict[str, object] = {}

    def compose(self) -> ComposeResult:
        yield Block("head")
        yield Rows("rows")
        yield Block("status")
        yield Block("keys")

    def on_resize(self) -> None:
        self.draw()

    def on_screen_resume(self) -> None:
        self.draw()

    @property
    def is_drawable(self) -> bool:
        """Whether its widgets exist: not before it is mounted, and not after it was closed."""
        return bool(self.query("#keys"))

    def draw(self) -> None:
        """Fill the widgets for the current size."""
        raise NotImplementedError

    def idle(self) -> Line:
        """Content of the status line without a message."""
        return ()

    def files_changed(self, names: list[str]) -> list[str]:
        """Reread what this screen can of the changed files; returns the names that need a reload."""
        return names

    def keep(self, before: Any) -> bool:
        """As the first screen of a reloaded run: keep what `before`, of the same type, showed; False if it cannot."""
        return False

    def reopen(self, result: OpenResult, first: Page, under: Page) -> Page | None:
        """The same screen of a reloaded run over its first screen, on top of `under`; None if it no longer exists."""
        return None

    def block(self, name: str) -> Block:
        return self.query_one(f"#{name}", Block)

    @property
    def rows(self) -> Rows:
        return self.query_one("#rows", Rows)

    def show_message(self, message: str) -> None:
        """Show a message until the next key."""
        self.message = message
        self.draw_status()

    def on_key(self) -> None:
        if self.message:
            self.message = ""
            self.draw_status()

    def on_block_clicked(self, event: Block.Clicked) -> None:
        """Do what the clicked key does."""
        if event.block.id == "keys":
            label = key_at(event.line, event.column)
            action = next((k.action for k in self.all_keys() if label in (k.shown, k.names)), None)
            if action is not None:
                self.call_later(self.run_action, action)

    def on_rows_wheeled(self, event: Rows.Wheeled) -> None:
        event.rows.move(event.by)
        self.draw_status()

    def draw_status(self) -> None:
        status, keys = bottom(self.message, self.app.stale, self.idle(), self.FOOTER, *self.size, lines=self.KEY_LINES)
        self.block("status").show(status)
        self.block("keys").show(keys)

    def start(self, job: str, work: Callable[[Stop, Send], None]) -> None:
        """Run `work` in a thread; replaces a running job of this name. `arrived` gets what it sends."""
        ticket = self._tickets[job] = object()
        self.waiting.add(job)
        self.run_worker(partial(self._work, job, ticket, work), thread=True, group=job, exclusive=True)

    def abandon(self, job: str) -> None:
        """Stop a job and drop what it still sends."""
        self._tickets.pop(job, None)
        self.waiting.discard(job)

    def _work(self, job: str, ticket: object, work: Callable[[Stop, Send], None]) -> None:
        worker = get_current_worker()

        def stop() -> bool:
            return worker.is_cancelled or self._tickets.get(job) is not ticket

        def call(handler: Callable[..., None], *data: Any) -> None:
            self.call_later(self._call, handler, job, ticket, *data)

        try:
            work(stop, partial(call, self.arrived))
        except (ProjectError, OSError) as e:
            call(self.failed, fault_text(e))
        call(self._end)

    def _call(self, handler: Callable[..., None], job: str, ticket: object, *data: Any) -> None:
        """Call a handler in the drawing thread, unless the job was abandoned or the screen was closed."""
        if self._tickets.get(job) is ticket and self.is_drawable:
            handler(job, *data)

    def _end(self, job: str) -> None:
        self.abandon(job)
        self.ended(job)

    def arrived(self, job: str, data: Any) -> None:
        """Called with each object that a job sends."""

    def ended(self, job: str) -> None:
        """Called when a job has ended."""

    def failed(self, job: str, text: str) -> None:
        self.show_message(text)

    def copied(self) -> str:
        """What `y` copies, escaped; empty if there is nothing."""
        return ""

    def exported(self) -> Printed:
        """What `e` exports."""
        raise NotImplementedError

    def action_copy(self) -> None:
        text = self.copied()
        if text:
            self.app.copy_to_clipboard(text)
        self.show_message(f"copied: {text.splitlines()[0]}" if text else "there is nothing to copy")

    def action_export(self) -> None:
        result, options = self.app.result, self.app.options
        protected = options.runs_root if result is None else result.run_dir
        try:
            path = export(self.exported(), protected)
        except (ProjectError, OSError) as e:
            self.show_message(f"not exported: {fault_text(e)}")
        else:
            self.show_message(f"exported to {safe(str(path))} and .json")

    @classmethod
    def all_keys(cls) -> tuple[Key, ...]:
        """The keys that this screen binds."""
        return (*cls.OWN_KEYS, *COMMON)

    def action_back(self) -> None:
        if not self.app.back():
            self.show_message("this is the first screen; q quits")


class TablePage(Page):
    """A screen with a table, or with text that scrolls (`table` None)."""

    BINDINGS = bindings(ROWS)
    OWN_KEYS: ClassVar[tuple[Key, ...]] = ROWS
    FOOTER: ClassVar[list[tuple[str, str]]] = footer(ROWS, COMMON)
    table: Table | None = None
    _folded: Sequence[Line] = ()
    """The lines of the heading that are not shown."""
    whole_head = False
    """Whether the whole heading is shown."""

    def head(self) -> Sequence[Line]:
        """Lines above the table by importance; low terminals show fewer."""
        return ()

    def text(self, columns: int) -> Sequence[Line]:
        """The text of a screen without a table."""
        return ()

    def problem(self, i: int) -> str:
        """What the status line says about row `i`."""
        return ""

    def open_row(self, i: int) -> None:
        """Called when Enter is pressed on row `i`."""

    def draw(self, row: int | None = None) -> None:
        columns, height = self.size
        table = self.table
        head = [clip(x, columns) for x in self._heading(height)]
        if table is None:
            lines = self.text(columns)
            self.rows.show(len(lines), lambda i, w: lines[i], cursor=None)
        elif not len(table):
            lines = [line(), *(line(Span(x, "warn")) for x in wrap(safe(table.empty), columns))]
            self.rows.show(len(lines), lambda i, w: lines[i], cursor=None)
        else:
            widths = column_widths(table.columns(), columns)
            head += [table_head(table.columns(), widths)] if height >= 6 else []
            now = self.rows.cursor if row is None else row
            rows = self.rows
            rows.show(len(table), lambda i, w: table_row(table, i, widths, cursor=i == rows.cursor), cursor=now or 0)
        self.block("head").show(head)
        self.draw_status()

    def _heading(self, height: int) -> list[Line]:
        """The first three lines, more on high terminals; with `whole_head`, as many as leave three rows."""
        lines = list(self.head())
        n = max(1, height - 8) if self.whole_head else max(1, 3 + max(0, height - 26) // 2) if height >= 12 else 1
        self._folded = lines[n:]
        return lines[:n]

    def idle(self) -> Line:
        if not self.table:
            return ()
        i = self.rows.cursor or 0
        problem = self.problem(i) if i < len(self.table) else ""
        row = line(Span(f"row {i + 1} of {len(self.table)}", "dim"), *self._more())
        return line(*row, Span(f"  {safe(problem)}", "warn")) if problem else row

    def _more(self) -> Line:
        """How many lines of the heading are not shown."""
        n = len(self._folded)
        if not n or self.whole_head:
            return ()
        warned = any(s.style == "warn" for x in self._folded for s in x)
        text = f"   d: {n} more {'line' if n == 1 else 'lines'}"
        return line(Span(f"{text}, a warning", "warn") if warned else Span(text, "dim"))

    def ended(self, job: str) -> None:
        self.draw()

    def on_rows_clicked(self, event: Rows.Clicked) -> None:
        """Move the cursor to the row; a click on the row under the cursor opens it."""
        if event.rows is not self.rows or not self.table or event.rows.cursor is None:
            return
        if event.index == event.rows.cursor:
            self.action_choose()
        else:
            self.action_row(event.index - event.rows.cursor)

    def copied(self) -> str:
        i = self.rows.cursor
        return "" if self.table is None or i is None or not len(self.table) else row_text(self.table, i)

    def exported(self) -> Printed:
        lines = [] if self.table else list(self.text(EXPORT_COLUMNS))
        record = {"screen": type(self).__name__.removesuffix("Page").lower()}
        if self.app.result:
            record["run"] = str(self.app.result.run_dir)
        lines = [*self.head(), *lines]
        return Printed(lines, self.table, {**record, "lines": [line_text(x) for x in lines]}, self.rows.cursor)

    def action_details(self) -> None:
        self.whole_head = not self.whole_head
        self.draw()

    def action_row(self, by: int) -> None:
        self.rows.move(by)
        self.draw_status()

    def action_page(self, by: int) -> None:
        self.action_row(by * self.rows.page)

    def action_choose(self) -> None:
        if self.table:
            self.open_row(self.rows.cursor or 0)


class TextPage(TablePage):
    """A screen with text."""

    def copied(self) -> str:
        return "\n".join(line_text(x) for x in [*self.head(), *self.text(EXPORT_COLUMNS)])

    FOOTER: ClassVar[list[tuple[str, str]]] = TEXT_FOOTER

    def idle(self) -> Line:
        last = min(self.rows.top + self.rows.room, self.rows.n)
        return line(Span(f"to line {last} of {self.rows.n}" if last < self.rows.n else "", "dim"))
