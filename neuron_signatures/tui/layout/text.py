"""Lines of text with a style name for each piece, columns of fixed width, and the words for numbers.

Everything from data passes `safe` (or `runs.tokens.visible`, then `safe`) before it becomes a piece. A style is a name
that `canvas` turns into colours; what it means is always in the text too.
"""

from __future__ import annotations

import contextlib
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from rich.cells import cell_len

from neuron_signatures.runs.tokens import escape, fit, visible
from neuron_signatures.runs.tokens import width as width

MAX_COLUMNS = 1000
# What a stream of another encoding shows instead of our own marks; of the same width.
ASCII_MARKS = str.maketrans("█▌▐│▶◀…·⏎⇥␍→▔▀▁▂▃▄▅▆▇±", "###|><~./><>-=1234567+")
# Of the stream that lines are laid out for; None: it takes all characters.
_ENCODING: ContextVar[str | None] = ContextVar("encoding", default=None)


class Span(NamedTuple):
    """Text of one style; the text is safe for a terminal."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


class Column(NamedTuple):
    """A column of a table. `width` 0 takes what the others leave, but at least `min_width`."""

    name: str
    title: str
    width: int
    right: bool = False
    drop: int = 0
    """On narrow terminals the column with the highest number goes first; 0 stays."""
    min_width: int = 8


class Table(Protocol):
    """Rows that are laid out one at a time, so that only what is on the screen costs anything."""

    @property
    def empty(self) -> str:
        """What to say when there is no row."""

    def __len__(self) -> int: ...
    def columns(self) -> Sequence[Column]: ...
    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        """The cells of row `i`; `widths` has the shown columns only."""

    def record(self, i: int) -> dict[str, Any]:
        """The row as data, texts raw."""


@contextlib.contextmanager
def written_in(encoding: str) -> Iterator[None]:
    """Within the block `safe` names what a stream of this encoding cannot take, so that it is laid out as named."""
    before = _ENCODING.get()
    _ENCODING.set(encoding)
    try:
        yield
    finally:
        _ENCODING.set(before)


def encodes(text: str, encoding: str) -> bool:
    """Whether a stream of this encoding takes the text."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def safe(text: str) -> str:
    """`text` as it may go to a terminal: printable, and of a width on which all terminals agree."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isascii() or _has_known_width(c) else _escaped(c) for c in escape(text))


def beginning(text: str) -> str:
    """`safe` of as much as any line can show: a prompt may have a hundred thousand characters."""
    return safe(text[:MAX_COLUMNS])


def token_text(token: str) -> str:
    """A token with visible edges, safe."""
    return safe(visible(token[:MAX_COLUMNS]))


def line(*parts: str | Span) -> Line:
    return tuple(p if isinstance(p, Span) else Span(p) for p in parts)


def line_text(spans: Line) -> str:
    """The line as text, without trailing spaces."""
    return "".join(p.text for p in spans).rstrip()


def clip(spans: Iterable[Span], columns: int) -> Line:
    """The line cut to at most this many columns, with `…` at its end if more than spaces was dropped."""
    whole = tuple(spans)
    shown = _cut(whole, columns)
    if columns < 1 or not "".join(p.text for p in whole)[sum(len(p.text) for p in shown) :].strip():
        return shown
    shorter = _cut(shown, columns - 1)
    return (*shorter[:-1], Span(f"{shorter[-1].text}…", shorter[-1].style))


def column_widths(columns: Sequence[Column], total: int) -> dict[str, int]:
    """How wide each column is on a line of `total` columns; columns that find no place are left out."""
    shown = list(columns)
    while len(shown) > 1 and _needed(shown) > total:
        last = max(shown, key=lambda c: c.drop)
        if last.drop == 0:
            break
        shown.remove(last)
    free = [c for c in shown if c.width == 0]
    fixed = sum(c.width for c in shown) + 1 + len(shown)
    each, more = divmod(max(0, total - fixed), len(free)) if free else (0, 0)
    wide = {c.name: each + (i < more) for i, c in enumerate(free)}
    return {c.name: c.width or max(1, wide[c.name]) for c in shown}


def table_head(columns: Sequence[Column], widths: Mapping[str, int]) -> Line:
    text = " ".join(_pad(c.title, widths[c.name], right=c.right) for c in columns if c.name in widths)
    return line(Span("  " + text, "head"))


def table_row(table: Table, i: int, widths: Mapping[str, int], *, cursor: bool) -> Line:
    """Row `i`; the row under the cursor begins with `>`."""
    cells = table.cells(i, widths)
    out = [Span("> " if cursor else "  ", "cursor" if cursor else "")]
    for c in table.columns():
        if c.name in widths:
            cell = cells.get(c.name, Span(""))
            out += [Span(_pad(cell.text, widths[c.name], right=c.right), cell.style), Span(" ")]
    return tuple(out[:-1])


def number(value: float | None, digits: int = 4) -> str:
    """A value with its sign: `+2.441`, `-0.02`, `0`, `nan`; empty for None. At most `digits` + 6 characters: an
    exponent beyond 99 takes the place of a digit.
    """
    if value is None:
        return ""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else f"{value:+}"
    if value == 0:
        return "0"
    return _at_most(f"{value:+.{digits}g}", f"{value:+.{digits - 1}g}", digits + 6)


def size(value: float | None, digits: int = 4) -> str:
    """A magnitude, without a sign, as short as `number`; empty for None."""
    return "" if value is None else _at_most(f"{value:.{digits}g}", f"{value:.{digits - 1}g}", digits + 6)


def _at_most(text: str, shorter: str, length: int) -> str:
    return text if len(text) <= length else shorter


def sign_style(value: float | None) -> str:
    return "" if value is None or not value or math.isnan(value) else "plus" if value > 0 else "minus"


def wrap(text: str, columns: int) -> list[str]:
    """A safe text in lines of at most this many columns, broken at spaces where there are any."""
    columns = max(4, columns)
    lines, rest = [], text
    while width(rest) > columns:
        cut = _fitting(rest, columns)
        space = rest.rfind(" ", 1, cut + 1)
        cut = space if space > cut // 2 else cut
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*lines, rest]


def _needed(columns: Sequence[Column]) -> int:
    return sum(c.width or c.min_width for c in columns) + 1 + len(columns)


def _pad(text: str, columns: int, *, right: bool) -> str:
    text = text[: columns + 1]
    if right and width(text) < columns:
        return " " * (columns - width(text)) + text
    return fit(text, columns)


def _fitting(text: str, columns: int) -> int:
    used = 0
    for i, c in enumerate(text):
        used += width(c)
        if used > columns:
            return i
    return len(text)


def _cut(spans: Line, columns: int) -> Line:
    out, left = [], columns
    for p in spans:
        text = p.text[: _fitting(p.text[: left + 1], left)]  # no character takes less than a column
        out.append(Span(text, p.style))
        left -= width(text)
        if len(text) < len(p.text):
            break
    return tuple(out)


def _has_known_width(c: str) -> bool:
    n, encoding = ord(c), _ENCODING.get()
    if encoding is not None and n not in ASCII_MARKS and not encodes(c, encoding):
        return False
    return unicodedata.category(c) != "Mc" and cell_len(c) == width(c)


def _escaped(c: str) -> str:
    return c.encode("unicode_escape").decode("ascii")
