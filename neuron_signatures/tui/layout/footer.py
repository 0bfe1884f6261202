"""The bottom of a screen: the status line, then the keys with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from neuron_signatures.runs.tokens import fit
from neuron_signatures.tui.layout.text import Line, Span, clip, line_text, safe, width

_ARROWS = ("←→", "↑↓")
_STALE = "press r: changed on disk"


Keys = Sequence[tuple[str, str]]
"""Labels of keys and what they do, the most important first."""


@lru_cache(maxsize=64)
def key_lines(keys: tuple[tuple[str, str], ...], columns: int, n: int) -> list[Line]:
    """Keys in at most `n` lines. `?` comes last, for the help, or for the number of keys that did not fit."""
    keys = tuple(k for k in keys if k[0] != "?")
    for shown in range(len(keys), -1, -1):
        left = len(keys) - shown
        lines = _filled([*keys[:shown], ("?", f"{left} more" if left else "help")], columns)
        if len(lines) <= n:
            return lines
    return []


def key_at(keys: Line, x: int) -> str:
    """The label of the key in column `x` of a line of keys; empty between two keys."""
    start = 0
    for label, word, gap in zip(keys[::3], keys[1::3], [*keys[2::3], Span("")], strict=True):
        end = start + width(label.text)
        if start <= x < end:
            parts = list(label.text) if label.text in _ARROWS else label.text.split()
            return parts[min(len(parts) - 1, (x - start) * len(parts) // (end - start))]
        end += width(word.text)
        if start <= x < end:
            return label.text if label.text not in _ARROWS else label.text[0]
        start = end + width(gap.text)
    return ""


class Bottom(NamedTuple):
    """The status line (none on very low terminals) and the lines of keys."""

    status: list[Line]
    keys: list[Line]


def bottom(message: str, stale: str, idle: Line, keys: Keys, columns: int, height: int, *, lines: int) -> Bottom:
    """Status line, and keys in at most this many lines.

    Without a message, the status line shows the changed files (`stale`) and `idle`.
    """
    status: Line = (Span(safe(message), "mark"),) if message else _with_stale(stale, idle, columns)
    shown = key_lines(tuple(keys), columns, lines if height >= 20 else 1 if height >= 8 else 0)
    return Bottom([clip(status, columns)] if height >= 4 else [], shown)


def _filled(keys: Keys, columns: int) -> list[Line]:
    lines: list[Line] = []
    for key, word in keys:
        text = (Span(key, "key"), Span(f" {word}", "dim"))
        if lines and width(line_text(lines[-1])) + 2 + width(line_text(text)) <= columns:
            lines[-1] += (Span("  "), *text)
        else:
            lines.append(text)
    return lines


def _with_stale(names: str, idle: Line, columns: int) -> Line:
    """The hint to press r, with names cut so that `idle` fits."""
    if not names:
        return idle
    text = f"{_STALE}: {safe(names)}"
    available = max(len(_STALE), columns - width(line_text(idle)) - 2)
    if width(text) > available:
        text = fit(text, available) if available >= len(_STALE) + 6 else _STALE
    return (Span(text, "warn"), Span("  "), *idle)
