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

from neuron_signatures.runs.tokens import escape, fit, visible
from neuron_signatures.runs.tokens import width as width

# Terminals disagree on the width of jamo that join, fillers, skin tones and hexagrams; and of spacing marks (Mc).
_UNSURE = (
    (0x1160, 0x11FF), (0x2630, 0x2637), (0x268A, 0x268F), (0x3164, 0x3164), (0x4DC0, 0x4DFF), (0xD7B0, 0xD7FF),
    (0xFFA0, 0xFFA0), (0x1D300, 0x1D376), (0x1F3FB, 0x1F3FF),
)  # fmt: skip


MAX_COLUMNS = 1000
# What a stream of another encoding shows instead of our own marks; of the same width.
ASCII_MARKS = str.maketrans("█▌▐│▶◀…·⏎⇥␍→▔▀▁▂▃▄▅▆▇±", "###|><~./><>-=1234567+")
# Of the stream that lines are laid out for; None: it takes all characters.
_ENCODING: ContextVar[str | None] = ContextVar("encoding", default=None)


class Piece(NamedTuple):
    """Text of one style; the text is safe for a terminal."""

    text: str
    style: str = ""


Line = tuple[Piece, ...]


class Column(NamedTuple):
    """A column of a table. `room` 0 takes what the others leave, but at least `least`."""

    name: str
    title: str
    room: int
    right: bool = False
    drop: int = 0
    """On narrow terminals the column with the highest number goes first; 0 stays."""
    least: int = 8


class Table(Protocol):
    """Rows that are laid out one at a time, so that only what is on the screen costs anything."""

    @property
    def empty(self) -> str:
        """What to say when there is no row."""

    def __len__(self) -> int: ...
    def columns(self) -> Sequence[Column]: ...
    def cells(self, i: int, room: Mapping[str, int]) -> Mapping[str, Piece]:
        """The cells of row `i`; `room` says how wide each shown column is."""

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
    return "".join(c if c.isascii() or _sure(c) else _named(c) for c in escape(text))


def beginning(text: str) -> str:
    """`safe` of as much as any line can show: a prompt may have a hundred thousand characters."""
    return safe(text[:MAX_COLUMNS])


def token_text(token: str) -> str:
    """A token with visible edges, safe."""
    return safe(visible(token[:MAX_COLUMNS]))


def line(*parts: str | Piece) -> Line:
    return tuple(p if isinstance(p, Piece) else Piece(p) for p in parts)


def plain(pieces: Line) -> str:
    """The line as text, without trailing spaces."""
    return "".join(p.text for p in pieces).rstrip()


def clip(pieces: Iterable[Piece], columns: int) -> Line:
    """The line cut to at most this many columns, with `…` at its end if more than spaces was dropped."""
    whole = tuple(pieces)
    kept = _cut(whole, columns)
    if columns < 1 or not "".join(p.text for p in whole)[sum(len(p.text) for p in kept) :].strip():
        return kept
    shorter = _cut(kept, columns - 1)
    return (*shorter[:-1], Piece(f"{shorter[-1].text}…", shorter[-1].style))


def rooms(columns: Sequence[Column], total: int) -> dict[str, int]:
    """How wide each column is on a line of `total` columns; columns that find no place are left out."""
    shown = list(columns)
    while len(shown) > 1 and _needed(shown) > total:
        last = max(shown, key=lambda c: c.drop)
        if last.drop == 0:
            break
        shown.remove(last)
    free = [c for c in shown if c.room == 0]
    fixed = sum(c.room for c in shown) + 1 + len(shown)
    each, more = divmod(max(0, total - fixed), len(free)) if free else (0, 0)
    wide = {c.name: each + (i < more) for i, c in enumerate(free)}
    return {c.name: c.room or max(1, wide[c.name]) for c in shown}


def table_head(columns: Sequence[Column], room: Mapping[str, int]) -> Line:
    text = " ".join(_pad(c.title, room[c.name], right=c.right) for c in columns if c.name in room)
    return line(Piece("  " + text, "head"))


def table_row(table: Table, i: int, room: Mapping[str, int], *, cursor: bool) -> Line:
    """Row `i`; the row under the cursor begins with `>`."""
    cells = table.cells(i, room)
    out = [Piece("> " if cursor else "  ", "cursor" if cursor else "")]
    for c in table.columns():
        if c.name in room:
            cell = cells.get(c.name, Piece(""))
            out += [Piece(_pad(cell.text, room[c.name], right=c.right), cell.style), Piece(" ")]
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
    return sum(c.room or c.least for c in columns) + 1 + len(columns)


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


def _cut(pieces: Line, columns: int) -> Line:
    out, left = [], columns
    for p in pieces:
        text = p.text[: _fitting(p.text[: left + 1], left)]  # no character takes less than a column
        out.append(Piece(text, p.style))
        left -= width(text)
        if len(text) < len(p.text):
            break
    return tuple(out)


def _sure(c: str) -> bool:
    n, encoding = ord(c), _ENCODING.get()
    if encoding is not None and n not in ASCII_MARKS and not encodes(c, encoding):
        return False
    return unicodedata.category(c) != "Mc" and not any(low <= n <= high for low, high in _UNSURE)


def _named(c: str) -> str:
    return c.encode("unicode_escape").decode("ascii")
