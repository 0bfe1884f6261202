"""Signed bars: positive values to the right of the axis (or up), negative to the left (or down)."""

from __future__ import annotations

import math

AXIS = "│"


def signed_bar(value: float, scale: float | None, columns: int) -> str:
    """A bar of exactly `columns` columns with the axis in the middle; ends in `▶` or `◀` beyond the scale."""
    half = max(1, (columns - 1) // 2)
    left, right = " " * half, " " * half
    if scale and math.isfinite(value):
        share = abs(value) / scale
        if share > 1 + 1e-6:
            left, right = ("◀" + "█" * (half - 1), right) if value < 0 else (left, "█" * (half - 1) + "▶")
        elif value < 0:
            left = _blocks(share, half, "▐").rjust(half)
        elif value > 0:
            right = _blocks(share, half, "▌").ljust(half)
    return (left + AXIS + right).ljust(columns)[:columns]


def bar(value: float | None, full: float, columns: int) -> str:
    """The magnitude of `value` as a bar from the left; empty if it is undefined or full scale is 0."""
    if value is None or not math.isfinite(value) or full <= 0 or value == 0:
        return ""
    return _blocks(min(1.0, abs(value) / full), columns, "▌")


def _blocks(share: float, half: int, end: str) -> str:
    """Blocks in steps of half a column; at least one half block."""
    halves = max(1, round(share * half * 2))
    whole = "█" * (halves // 2)
    if halves % 2 == 0:
        return whole
    return end + whole if end == "▐" else whole + end
