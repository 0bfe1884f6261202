"""The two widgets: a block of lines, and rows that are laid out only while visible.

Both give Textual finished strips, so that no text is parsed as markup; non-printable characters are escaped last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from neuron_signatures.runs.tokens import escape

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
_ROW = Style(bgcolor="#2d333b")


def strip_of(line: Line, columns: int, base: Style, *, selected: bool = False) -> Strip:
    """A line as a Textual strip of exactly this many columns, in the colours of the widget."""
    segments = [Segment(_printable(p.text), _STYLES[p.style]) for p in line]
    return Strip(segments).adjust_cell_length(columns).apply_style(base + _ROW if selected else base)


def _printable(text: str) -> str:
    return text if text.isascii() and text.isprintable() else escape(text)


class Block(Widget):
    """Lines that do not scroll; sets its height to their number."""

    DEFAULT_CSS = "Block { width: 1fr; height: auto; }"

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._lines: Sequence[Line] = ()

    def show(self, lines: Sequence[Line]) -> None:
        if len(lines) != len(self._lines):
            self.styles.height = len(lines)
        self._lines = lines
        self.refresh()

    def render_line(self, y: int) -> Strip:
        return strip_of(self._lines[y] if y < len(self._lines) else (), self.size.width, self.rich_style)


class Rows(Widget):
    """Rows with a cursor, scrolled so that it is visible. `line(i, columns)` lays out row `i` on demand."""

    DEFAULT_CSS = "Rows { width: 1fr; height: 1fr; }"

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.cursor: int | None = None
        self.n = 0
        self.top = 0
        """Index of the first visible row."""
        self._line: Callable[[int, int], Line] = lambda i, columns: ()

    def show(self, n: int, line: Callable[[int, int], Line], *, cursor: int | None) -> None:
        """Replace the rows. `cursor` None: text that scrolls without a cursor."""
        self.n, self._line = n, line
        self.cursor = None if cursor is None else max(0, min(cursor, n - 1))
        self._keep_in_sight()
        self.refresh()

    def move(self, by: int) -> None:
        if self.cursor is None:
            self.top = max(0, min(self.top + by, self.n - max(1, self.size.height)))
        else:
            self.cursor = max(0, min(self.cursor + by, self.n - 1))
            self._keep_in_sight()
        self.refresh()

    @property
    def page(self) -> int:
        return max(1, self.size.height - 1)

    def on_resize(self) -> None:
        self._keep_in_sight()

    def render_line(self, y: int) -> Strip:
        i = self.top + y
        if i >= self.n:
            return strip_of((), self.size.width, self.rich_style)
        columns = self.size.width
        return strip_of(self._line(i, columns), columns, self.rich_style, selected=i == self.cursor)

    def _keep_in_sight(self) -> None:
        height = max(1, self.size.height)
        if self.cursor is not None:
            self.top = max(self.cursor - height + 1, min(self.top, self.cursor))
        self.top = max(0, min(self.top, self.n - height))
