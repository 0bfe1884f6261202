"""Keys and their words in the lines at the bottom of a screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from neuron_signatures.tui.pieces import Line, Piece, plain, width


class KeyLines(NamedTuple):
    lines: list[Line]
    rest: Sequence[tuple[str, str]]
    """What found no place."""


def key_lines(keys: Sequence[tuple[str, str]], columns: int, n: int) -> KeyLines:
    """Keys and words in at most `n` lines, no line empty."""
    lines: list[Line] = []
    for i, (key, word) in enumerate(keys):
        text = (Piece(key, "key"), Piece(f" {word}", "dim"))
        room = columns - width(plain(lines[-1])) - 2 if lines else 0
        if lines and width(plain(text)) <= room:
            lines[-1] += (Piece("  "), *text)
        elif len(lines) < n and width(plain(text)) <= columns:
            lines.append(text)
        else:
            return KeyLines(lines, keys[i:])
    return KeyLines(lines, ())
