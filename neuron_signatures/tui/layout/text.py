"""Styled lines of text, tables with fixed-width columns, and number formats.

All text from data passes `safe` or `token_text` before it becomes a span. `widgets` maps style names to colours; no
information is in the colour alone.
"""

from __future__ import annotations

import contextlib
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from rich.cells import cell_len

from neuron_signatures.runs.tokens import escape, fit, visible
from neuron_signatures.runs.tokens import width as width

R = TypeVar("R")
MAX_COLUMNS = 1000
# Replacements of the same width for streams that cannot encode our marks.
ASCII_MARKS = str.maketrans("█▌▐│▶◀…·⏎⇥␍→±⁺⁻▸▾Σ", "###|><~./><>++->vS")
# Encoding of the stream that lines are laid out for; None: any character.
_ENCODING: ContextVar[str | None] = ContextVar("encoding", default=None)


class Span(NamedTuple):
    """Text in one style, safe for a terminal."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


class Column(NamedTuple):
    """A column of a table. `width` 0: shares the remaining width, at least `min_width`."""

    name: str
    title: str
    width: int
    right: bool = False
    drop: int = 0
    """On narrow terminals, the column with the highest number is left out first; 0: never."""
    min_width: int = 8


class Table(Protocol):
    """A table whose rows are laid out on demand, only while visible."""

    @property
    def empty(self) -> str:
        """Message shown if there are no rows."""

    def __len__(self) -> int: ...
    def columns(self) -> Sequence[Column]: ...
    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span | Line]:
        """The cells of row `i`; `widths` has the shown columns only. A line is cut; its cell is aligned to the left."""

    def record(self, i: int) -> dict[str, Any]:
        """The row as data, with unescaped text."""


@dataclass
class RowTable(Generic[R]):
    """Base of the tables with one record per row."""

    rows: Sequence[R]

    def __len__(self) -> int:
        return len(self.rows)


@contextlib.contextmanager
def written_in(encoding: str) -> Iterator[None]:
    """Within the block, `safe` escapes characters that this encoding cannot represent."""
    before = _ENCODING.get()
    _ENCODING.set(encoding)
    try:
        yield
    finally:
        _ENCODING.set(before)


def encodes(text: str, encoding: str) -> bool:
    """Whether the text can be encoded."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def safe(text: str) -> str:
    """`text` escaped for a terminal: printable, and of a width on which terminals agree."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c.isascii() or _has_known_width(c) else c.encode("unicode_escape").decode() for c in escape(text)
    )


def beginning(text: str) -> str:
    """`safe` of at most the length of a line: a prompt may have a hundred thousand characters."""
    return safe(text[:MAX_COLUMNS])


def token_text(token: str) -> str:
    """A token with visible edges, escaped."""
    return _token_text(token[:MAX_COLUMNS], _ENCODING.get())


@lru_cache(maxsize=4096)
def _token_text(token: str, _: str | None) -> str:
    return safe(visible(token))


def line(*parts: str | Span) -> Line:
    return tuple(p if isinstance(p, Span) else Span(p) for p in parts)


def line_text(spans: Line) -> str:
    """The line as text, without trailing spaces."""
    return "".join(p.text for p in spans).rstrip()


def clip(spans: Iterable[Span], columns: int) -> Line:
    """The line cut to at most this many columns; ends in `…` if more than spaces was dropped."""
    whole = tuple(spans)
    shown = _cut(whole, columns)
    if columns < 1 or not "".join(p.text for p in whole)[sum(len(p.text) for p in shown) :].strip():
        return shown
    shorter = _cut(shown, columns - 1)
    return (*shorter[:-1], Span(f"{shorter[-1].text}…", shorter[-1].style))


def column_widths(columns: Sequence[Column], total: int) -> dict[str, int]:
    """Width of each column on a line of `total` columns; columns that do not fit are left out."""
    shown = list(columns)
    while len(shown) > 1 and sum(c.width or c.min_width for c in shown) + 1 + len(shown) > total:
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
    """Row `i`; with `cursor`, it begins with `>`."""
    cells = table.cells(i, widths)
    out = [Span("> " if cursor else "  ", "cursor" if cursor else "")]
    for c in table.columns():
        if c.name in widths:
            cell = cells.get(c.name, Span(""))
            out += _padded(cell, widths[c.name], right=c.right)
            out.append(Span(" "))
    return tuple(out[:-1])


def row_text(table: Table, i: int) -> str:
    """Row `i` on one line, without empty cells and padding."""
    widths = column_widths(table.columns(), MAX_COLUMNS)
    cells = table.cells(i, widths)
    shown = (cells.get(c.name, Span("")) for c in table.columns())
    texts = (line_text((c,) if isinstance(c, Span) else c).strip() for c in shown)
    return "  ".join(t for t in texts if t.strip("│ █▌▐▶◀"))


def number(value: float | None, digits: int = 4) -> str:
    """A value with its sign: `+2.441`, `-0.02`, `0`, `nan`; empty for None.

    At most `digits` + 6 characters: a three-digit exponent costs one digit.
    """
    if value is None:
        return ""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else f"{value:+}"
    if value == 0:
        return "0"
    return _at_most(f"{value:+.{digits}g}", f"{value:+.{digits - 1}g}", digits + 6)


def size(value: float | None, digits: int = 4) -> str:
    """A magnitude without a sign, of the same length as `number`; empty for None."""
    return "" if value is None else _at_most(f"{value:.{digits}g}", f"{value:.{digits - 1}g}", digits + 6)


def _at_most(text: str, shorter: str, length: int) -> str:
    return text if len(text) <= length else shorter


def sign_style(value: float | None) -> str:
    return "" if value is None or not value or math.isnan(value) else "plus" if value > 0 else "minus"


def wrap(text: str, columns: int) -> list[str]:
    """Escaped text wrapped to at most this many columns, at spaces where possible."""
    columns = max(4, columns)
    lines, start = [], 0
    while (end := _fitting(text, columns, start)) < len(text):
        space = text.rfind(" ", start + 1, end + 1)
        cut = space if space - start > (end - start) // 2 else end
        lines.append(text[start:cut].rstrip())
        start = cut
        while start < len(text) and text[start] == " ":
            start += 1
    return [*lines, text[start:]]


def _padded(cell: Span | Line, columns: int, *, right: bool) -> Line:
    if isinstance(cell, Span):
        return (Span(_pad(cell.text, columns, right=right), cell.style),)
    shown = clip(cell, columns)
    return (*shown, Span(" " * (columns - sum(width(s.text) for s in shown))))


def _pad(text: str, columns: int, *, right: bool) -> str:
    text = text[: columns + 1]
    if right and width(text) < columns:
        return " " * (columns - width(text)) + text
    return fit(text, columns)


def _fitting(text: str, columns: int, start: int = 0) -> int:
    """The end of the part of `text` from `start` on that fits."""
    if text.isascii():
        return min(len(text), start + columns)
    used = 0
    for i in range(start, len(text)):
        used += width(text[i])
        if used > columns:
            return i
    return len(text)


def _cut(spans: Line, columns: int) -> Line:
    out, left = [], columns
    for p in spans:
        text = p.text[: _fitting(p.text[: left + 1], left)]  # each character takes at least one column
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
