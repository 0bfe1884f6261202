"""The bottom of a screen: the status line, then the keys with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from neuron_signatures.runs.tokens import fit
from neuron_signatures.tui.layout.text import Line, Span, clip, line_text, safe, width

_STALE = "press r: changed on disk"


class KeyLines(NamedTuple):
    lines: list[Line]
    rest: Sequence[tuple[str, str]]
    """Keys that did not fit."""


def key_lines(keys: Sequence[tuple[str, str]], columns: int, n: int) -> KeyLines:
    """Keys and labels in at most `n` lines."""
    lines: list[Line] = []
    for i, (key, word) in enumerate(keys):
        text = (Span(key, "key"), Span(f" {word}", "dim"))
        available = columns - width(line_text(lines[-1])) - 2 if lines else 0
        if lines and width(line_text(text)) <= available:
            lines[-1] += (Span("  "), *text)
        elif len(lines) < n and width(line_text(text)) <= columns:
            lines.append(text)
        else:
            return KeyLines(lines, keys[i:])
    return KeyLines(lines, ())


class Bottom(NamedTuple):
    """The status line (none on very low terminals) and the lines of keys."""

    status: list[Line]
    keys: list[Line]


def bottom(message: str, stale: str, idle: Line, keys: Sequence[tuple[str, str]], columns: int, height: int) -> Bottom:
    """Status line and keys. Without a message, the status line shows the changed files (`stale`), `idle`, and the keys
    that did not fit below.
    """
    shown, rest = key_lines(keys, columns, 2 if height >= 20 else 1 if height >= 8 else 0)
    status: Line = (Span(safe(message), "mark"),) if message else _with_stale(stale, idle, columns)
    if shown and not message:
        used = width(line_text(status))
        gap = 4 if used else 0
        more = key_lines(rest, columns - used - gap, 1).lines
        status = (*status, Span(" " * gap), *(p for x in more for p in x))
    return Bottom([clip(status, columns)] if height >= 4 else [], shown)


def _with_stale(names: str, idle: Line, columns: int) -> Line:
    """The hint to press r, with names cut so that `idle` fits."""
    if not names:
        return idle
    text = f"{_STALE}: {safe(names)}"
    available = max(len(_STALE), columns - width(line_text(idle)) - 2)
    if width(text) > available:
        text = fit(text, available) if available >= len(_STALE) + 6 else _STALE
    return (Span(text, "warn"), Span("  "), *idle)
