"""Displaying tokens and other text from data, without characters that control a terminal."""

from __future__ import annotations

import itertools
import unicodedata
from functools import lru_cache

MAX_SHOWN = 300
"""Characters of a token or name that are shown; a run folder may contain longer ones."""
_MARKS = {"\n": "⏎", "\t": "⇥", "\r": "␍"}


def escape(text: str) -> str:
    """`text` with control and format characters, bidi marks, surrogates and combining marks as escapes.

    The result has only printable characters; spaces stay spaces. It is safe for a terminal, but not for HTML.
    """
    return "".join(c if _is_safe(c) else _escaped(c) for c in text)


def brief(text: str) -> str:
    """`escape` of the first `MAX_SHOWN` characters; `…` marks that there are more."""
    return escape(text) if len(text) <= MAX_SHOWN else f"{escape(text[:MAX_SHOWN])}…"


def visible(token: str) -> str:
    """A token with visible edges: ` Austin` is `·Austin`, a line break is `⏎`; the rest as in `brief`."""
    if len(token) > MAX_SHOWN:
        return f"{visible(token[:MAX_SHOWN])}…"
    body = token.lstrip(" ")
    tail = body.rstrip(" ")
    plain = tail.isascii() and tail.isprintable()
    shown = tail if plain else "".join(_MARKS.get(c) or escape(c) for c in tail)
    return "·" * (len(token) - len(body)) + shown + "·" * (len(body) - len(tail))


def encodable(text: str) -> str:
    """`text` with lone surrogates, which UTF-8 cannot encode, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def ascii_token(token: str) -> str:
    """A token in printable ASCII, for `tokens_ascii` of the manifest; other characters as `\\xNN`, `\\uNNNN`."""
    return "".join(c if " " <= c <= "~" else _escaped(c) for c in token)


def width(text: str) -> int:
    """Terminal columns of an escaped text (wide East Asian characters take two)."""
    return len(text) if text.isascii() else sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, columns: int) -> str:
    """An escaped text, truncated (with `…`) or padded to exactly `columns`."""
    if len(text) > columns or width(text) > columns:
        ends = itertools.accumulate(map(width, text[:columns]))  # each character takes at least one column
        text = text[: sum(end < columns for end in ends)] + "…"
    return text + " " * (columns - width(text))


@lru_cache(maxsize=4096)
def _is_safe(c: str) -> bool:
    return c.isprintable() and not unicodedata.combining(c) and unicodedata.category(c) not in ("Mn", "Me", "Co")


def _escaped(c: str) -> str:
    n = ord(c)
    return f"\\x{n:02x}" if n < 0x100 else f"\\u{n:04x}" if n < 0x10000 else f"\\U{n:08x}"
