"""Tokens of a prompt as running text, coloured by activation.

The colours are those of the explorer's heatmap. Without colours, marks after a token give sign and strength.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from neuron_signatures.tui.layout.shades import LEVELS
from neuron_signatures.tui.layout.text import Line, Span, clip, token_text, width
from neuron_signatures.views.scale import strength

LEGENDS = (
    "text: green positive, orange negative, stronger towards the full scale, on a logarithmic scale",
    "without colours: ⁺ ⁺⁺ ⁺⁺⁺ positive, ⁻ ⁻⁻ ⁻⁻⁻ negative: from 6, 13 and 41 % of the full scale; [ ] the cursor",
    "▶ ◀ beyond the full scale; ? not finite; … text is cut; · a space; ⏎ a line break",
    "z: (act - mean) / std over the run; #3:6 is position 6 of prompt 3, both from 0",
)
_FLOOR = 1 / 16
"""Share of the full scale below which a token has no mark."""
_FAR = 300
"""Tokens laid out before and after the cursor: a prompt may have a hundred thousand."""


class Coloured(NamedTuple):
    """Tokens with the values that colour them, in order of position."""

    tokens: Sequence[str]
    """Raw."""
    values: np.ndarray
    """One per token, as the scaling shows them."""
    counts: np.ndarray
    """Mask of the included positions; the others have no colour."""
    full: float | None
    """Full scale; larger magnitudes are marked by an arrow."""
    cursor: int | None = None
    """Index of the marked token."""


def legend(scale: str, *, plain: bool) -> str:
    """What colours or marks mean, for a scale such as `±2.44 (run)`."""
    if not scale:
        return ""
    return f"⁺ ⁺⁺ ⁺⁺⁺ from 6, 13, 41 % of {scale}" if plain else f"green + orange - to {scale}"


def pieces(text: Coloured, first: int, end: int, *, plain: bool) -> list[Line]:
    """Each token from `first` to before `end`, with its colour, or in `plain` with marks."""
    return [_piece(text, i, plain=plain) for i in range(first, end)]


def flowing(text: Coloured, columns: int, rows: int, *, plain: bool) -> list[Line]:
    """At most `rows` lines of text around the cursor; `…` marks what is left out."""
    n, at = len(text.tokens), text.cursor or 0
    if rows < 1 or not n:
        return []
    first = max(0, (at // _FAR - 1) * _FAR)  # in steps, so that the lines do not flow anew with each move
    end = min(n, at + _FAR)
    lines, here = _flow(pieces(text, first, end, plain=plain), columns - 2, at - first)
    top = max(0, min(here - rows // 2, len(lines) - rows))
    shown = lines[top : top + rows]
    before, after = top > 0 or first > 0, top + rows < len(lines) or end < n
    shown = [(Span("…" if before and i == 0 else " "), *x) for i, x in enumerate(shown)]
    return [*shown[:-1], (*shown[-1], Span("…"))] if after else shown


def whole(text: Coloured, columns: int, *, plain: bool) -> list[Line]:
    """All of the text, in as many lines as it takes."""
    lines, _ = _flow(pieces(text, 0, len(text.tokens), plain=plain), columns, -1)
    return lines


def on_one_line(text: Coloured, columns: int, keep: int, *, plain: bool) -> Line:
    """The text in one line that shows token `keep`; `…` marks cuts on both sides."""
    if columns < 2:
        return ()
    first, end = max(0, keep - columns), min(len(text.tokens), keep + columns)  # a token takes at least one column
    shown = pieces(text, first, end, plain=plain)
    wide = [sum(width(s.text) for s in p) for p in shown]
    at = keep - first
    before, after = sum(wide[:at]), sum(wide[at:])
    room = columns - min(after, max(wide[at], columns // 2)) - 2
    cut = 0
    while before > room and cut < at:
        before -= wide[cut]
        cut += 1
    head = (Span("…"),) if first + cut > 0 else ()
    return clip((*head, *(s for p in shown[cut:] for s in p)), columns)


def _flow(tokens: list[Line], columns: int, at: int) -> tuple[list[Line], int]:
    """Lines broken between tokens, and the line of token `at`."""
    lines: list[list[Span]] = [[]]
    used = here = 0
    for i, token in enumerate(tokens):
        wide = sum(width(s.text) for s in token)
        if used and used + wide > columns:
            lines.append([])
            used = 0
            token = (Span(token[0].text.lstrip(" ") or token[0].text, token[0].style), *token[1:])
        if wide > columns:
            token = clip(token, columns)
        lines[-1] += token
        used += sum(width(s.text) for s in token)
        if i == at:
            here = len(lines) - 1
    return [tuple(x) for x in lines], here


def _piece(text: Coloured, i: int, *, plain: bool) -> Line:
    token = text.tokens[i]
    shown = f" {token_text(token[1:])}" if token[:1] == " " and token.strip(" ") else token_text(token)
    value, here = float(text.values[i]), i == text.cursor
    if not text.counts[i]:
        style, mark = "dim", ""
    elif not math.isfinite(value):
        style, mark = "warn", "?"
    elif not value or not text.full:
        style, mark = "", ""
    else:
        style, mark = _shade(value, text.full), _mark(value, text.full, plain=plain)
    if plain:
        gap = shown[: len(shown) - len(shown.lstrip(" "))]
        body = shown[len(gap) :]
        return (Span(f"{gap}[{body}]{mark}" if here else f"{shown}{mark}", "mark" if here else ""),)
    return (Span(shown + mark, f"{style} here".strip() if here else style),)


def _shade(value: float, full: float) -> str:
    """The style of a background: `+` or `-` and a level."""
    level = max(1, round(strength(abs(value) / full) * LEVELS))
    return f"{'+' if value > 0 else '-'}{level}"


def _mark(value: float, full: float, *, plain: bool) -> str:
    share = abs(value) / full
    beyond = ("▶" if value > 0 else "◀") if share > 1 + 1e-6 else ""
    if not plain:
        return beyond
    times = 0 if share < _FLOOR else 1 + int(strength(share) * 2.999)
    return ("⁺" if value > 0 else "⁻") * times + beyond
