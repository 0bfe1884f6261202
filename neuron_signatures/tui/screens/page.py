"""Base classes of the screens: head, rows, status line and keys; jobs in threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.message import Message
from textual.screen import Screen
from textual.worker import get_current_worker

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.tui.base_app import BaseApp
from neuron_signatures.tui.faults import fault_text
from neuron_signatures.tui.keys import COMMON, ROWS, TEXT_FOOTER, Key, bindings, footer
from neuron_signatures.tui.layout.footer import bottom
from neuron_signatures.tui.layout.text import (
    Line,
    Span,
    Table,
    clip,
    column_widths,
    line,
    safe,
    table_head,
    table_row,
    wrap,
)
from neuron_signatures.tui.layout.widgets import Block, Rows

Stop = Callable[[], bool]
Send = Callable[[Any], None]


@dataclass
class JobData(Message):
    """A job in a thread sent `data`; None: the job has ended."""

    job: str
    ticket: object
    data: Any


@dataclass
class JobFailed(Message):
    """A job failed; `text` is the error."""

    job: str
    ticket: object
    text: str


class Page(Screen[None]):
    """A screen. `draw` is called whenever its content or size may have changed."""

    app: BaseApp
    BINDINGS = bindings(COMMON)
    OWN_KEYS: ClassVar[tuple[Key, ...]] = ()
    FOOTER: ClassVar[list[tuple[str, str]]] = footer(COMMON)

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

    def draw_status(self) -> None:
        status, keys = bottom(self.message, self.app.stale, self.idle(), self.FOOTER, *self.size)
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

        def send(data: Any) -> None:
            self.post_message(JobData(job, ticket, data))

        try:
            work(stop, send)
        except (ProjectError, OSError) as e:
            self.post_message(JobFailed(job, ticket, fault_text(e)))
        self.post_message(JobData(job, ticket, None))

    def on_job_data(self, message: JobData) -> None:
        if self._tickets.get(message.job) is not message.ticket or not self.is_drawable:
            return
        if message.data is None:
            self.abandon(message.job)
            self.ended(message.job)
        else:
            self.arrived(message.job, message.data)

    def on_job_failed(self, message: JobFailed) -> None:
        if self._tickets.get(message.job) is message.ticket and self.is_drawable:
            self.failed(message.job, message.text)

    def arrived(self, job: str, data: Any) -> None:
        """Called with each object that a job sends."""

    def ended(self, job: str) -> None:
        """Called when a job has ended."""

    def failed(self, job: str, text: str) -> None:
        self.show_message(text)

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

    def head(self) -> Sequence[Line]:
        """Lines above the table by importance; low terminals show fewer."""
        return ()

    def text(self, columns: int) -> Sequence[Line]:
        """The text of a screen without a table."""
        return ()

    def open_row(self, i: int) -> None:
        """Called when Enter is pressed on row `i`."""

    def draw(self, row: int | None = None) -> None:
        columns, height = self.size
        table = self.table
        head = [clip(x, columns) for x in list(self.head())[: max(1, height - 12)]]
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

    def idle(self) -> Line:
        if not self.table:
            return ()
        return line(Span(f"row {(self.rows.cursor or 0) + 1} of {len(self.table)}", "dim"))

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

    FOOTER: ClassVar[list[tuple[str, str]]] = TEXT_FOOTER

    def idle(self) -> Line:
        last = min(self.rows.top + self.rows.size.height, self.rows.n)
        return line(Span(f"to line {last} of {self.rows.n}" if last < self.rows.n else "", "dim"))
