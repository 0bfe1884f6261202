"""The two widgets: a block of lines, and rows that are laid out only while visible.

Both give Textual finished strips, so that no text is parsed as markup; non-printable characters are escaped last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from neuron_signatures.runs.tokens import escape
from neuron_signatures.tui.layout.shades import shade

if TYPE_CHECKING:
    from neuron_signatures.tui.layout.text import Line

_STYLES = {
    "": Style(),
    "dim": Style(color="#8b949e"),
    "head": Style(color="#8b949e", bgcolor="#21262d"),
    "title": Style(bold=True, color="#79c0ff"),
    "token": Style(color="#e6edf3", bold=True),
    "mark": Style(bold=True, color="#e3b341"),
    "plus": Style(color="#34d399"),
    "minus": Style(color="#fb923c"),
    "warn": Style(bold=True, color="#ff7b72"),
    "key": Style(bold=True, color="#79c0ff"),
    "cursor": Style(bold=True, color="#e3b341"),
}
_WHEEL = 3
"""Rows per step of the mouse wheel."""
_ROW = Style(bgcolor="#2d333b")
_HERE = Style(bold=True, underline=True)


@lru_cache(maxsize=200)
def style_named(name: str) -> Style:
    """The style of a span: a name, `+7` or `-7` for a background of level 7, each optionally with ` here`."""
    first, _, here = name.partition(" ")
    if first == "here":
        first, here = "", first
    if first[:1] in ("+", "-"):
        text, background = shade("+" if first[0] == "+" else "-", int(first[1:]))
        style = Style(color=text, bgcolor=background)
    else:
        style = _STYLES[first]
    return style + _HERE if here else style


@lru_cache(maxsize=512)
def strip_of(line: Line, columns: int, base: Style, *, selected: bool = False) -> Strip:
    """A line as a Textual strip of exactly this many columns, in the colours of the widget. Cached: most lines stay."""
    segments = [Segment(_printable(p.text), style_named(p.style)) for p in line]
    return Strip(segments).adjust_cell_length(columns).apply_style(base + _ROW if selected else base)


def _printable(text: str) -> str:
    return text if text.isascii() and text.isprintable() else escape(text)


class Lines(Widget):
    """Base of the two: computes the style and the width once for all lines that are drawn, because Textual computes
    both from all ancestors.
    """

    base = Style()
    columns = 0

    def render_lines(self, crop: Region) -> list[Strip]:
        self.base, self.columns = self.rich_style, self.size.width
        return super().render_lines(crop)

    def strip(self, line: Line, *, selected: bool = False) -> Strip:
        return strip_of(line, self.columns, self.base, selected=selected)


class Block(Lines):
    """Lines that do not scroll; sets its height to their number. A click posts `Clicked`."""

    DEFAULT_CSS = "Block { width: 1fr; height: auto; }"

    class Clicked(Message):
        """A column of a line was clicked."""

        def __init__(self, block: Block, line: Line, column: int) -> None:
            super().__init__()
            self.block, self.line, self.column = block, line, column

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.lines: Sequence[Line] = ()

    def show(self, lines: Sequence[Line]) -> None:
        if lines == self.lines:
            return
        if len(lines) != len(self.lines):
            self.styles.height = len(lines)
        self.lines = lines
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        if event.y < len(self.lines):
            self.post_message(self.Clicked(self, self.lines[event.y], event.x))

    def render_line(self, y: int) -> Strip:
        return self.strip(self.lines[y] if y < len(self.lines) else ())


class Rows(Lines):
    """Rows with a cursor, scrolled so that it is visible. `line(i, columns)` lays out row `i` on demand.

    A click posts `Clicked`; the wheel moves the cursor, or scrolls text.
    """

    DEFAULT_CSS = "Rows { width: 1fr; height: 1fr; }"

    class Clicked(Message):
        """A row was clicked."""

        def __init__(self, rows: Rows, index: int) -> None:
            super().__init__()
            self.rows, self.index = rows, index

    class Wheeled(Message):
        """The wheel was turned."""

        def __init__(self, rows: Rows, by: int) -> None:
            super().__init__()
            self.rows, self.by = rows, by

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.cursor: int | None = None
        self.n = 0
        self.top = 0
        """Index of the first visible row."""
        self.head: Sequence[Line] = ()
        """Lines above the rows that do not scroll."""
        self._line: Callable[[int, int], Line] = lambda i, columns: ()

    def show(self, n: int, line: Callable[[int, int], Line], *, cursor: int | None, head: Sequence[Line] = ()) -> None:
        """Replace the rows. `cursor` None: text that scrolls without a cursor."""
        self.n, self._line, self.head = n, line, head
        self.cursor = None if cursor is None else max(0, min(cursor, n - 1))
        self._keep_in_sight()
        self.refresh()

    def move(self, by: int) -> None:
        if self.cursor is None:
            self.roll(by)
        else:
            self.cursor = max(0, min(self.cursor + by, self.n - 1))
            self._keep_in_sight()
            self.refresh()

    def roll(self, by: int) -> None:
        """Scroll without the cursor, until the next move."""
        self.top = max(0, min(self.top + by, self.n - self.room))
        self.refresh()

    def reveal(self, first: int, last: int) -> None:
        """Scroll as little as needed to show these rows; if they do not fit, the first ones."""
        self.top = max(0, min(first, max(self.top, last - self.room + 1)))
        self.refresh()

    @property
    def room(self) -> int:
        """The number of rows that fit, at least 1."""
        return max(1, self.size.height - len(self.head))

    @property
    def page(self) -> int:
        return max(1, self.room - 1)

    def on_click(self, event: events.Click) -> None:
        index = self.top + event.y - len(self.head)
        if event.y >= len(self.head) and index < self.n:
            self.post_message(self.Clicked(self, index))

    def on_mouse_scroll_down(self) -> None:
        self.post_message(self.Wheeled(self, _WHEEL))

    def on_mouse_scroll_up(self) -> None:
        self.post_message(self.Wheeled(self, -_WHEEL))

    def on_resize(self) -> None:
        self._keep_in_sight()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        if y < len(self.head):
            return self.strip(self.head[y])
        i = self.top + y - len(self.head)
        if i >= self.n:
            return self.strip(())
        return self.strip(self._line(i, self.columns), selected=i == self.cursor)

    def _keep_in_sight(self) -> None:
        if self.cursor is not None:
            self.top = max(self.cursor - self.room + 1, min(self.top, self.cursor))
        self.top = max(0, min(self.top, self.n - self.room))
