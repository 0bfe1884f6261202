"""The colours of activations, as in the explorer's heatmap: green for positive, orange for negative values."""

from __future__ import annotations

from typing import Literal, NamedTuple

Sign = Literal["+", "-"]
LEVELS = 16
"""Number of distinct backgrounds of each sign."""
_COLOURS: dict[Sign, tuple[int, int, int]] = {"+": (52, 211, 153), "-": (251, 146, 60)}
_GROUND = (18, 18, 18)
_DARK_TEXT_FROM = 0.62


class Shade(NamedTuple):
    """Colours as `#rrggbb`."""

    text: str
    background: str


def shade(sign: Sign, level: int) -> Shade:
    """The background of a level from 1 to `LEVELS`, and the text that can be read on it."""
    opacity = level / LEVELS
    mixed = (round(g + (c - g) * opacity) for g, c in zip(_GROUND, _COLOURS[sign], strict=True))
    return Shade("#111111" if opacity >= _DARK_TEXT_FROM else "#e6edf3", "#{:02x}{:02x}{:02x}".format(*mixed))
