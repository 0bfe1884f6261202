"""A histogram as lines: one interval a line, bars on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from neuron_signatures.tui.layout.bars import bar
from neuron_signatures.tui.layout.text import Line, Span, line, number
from neuron_signatures.views.records.distribution import Bin

_RANGE, _COUNT, _SHARE = 19, 11, 10
_LEAST_BAR, _BESIDE_SHARES = 8, 16
"""Least columns of a bar, and of one beside the shares."""


def histogram_lines(bins: Sequence[Bin], columns: int) -> list[Line]:
    """The interval, the number of tokens, their share, and log10(1 + number) as a bar; the largest values first."""
    full = max((math.log10(1 + b.n) for b in bins), default=0.0)
    n = sum(b.n for b in bins)
    shares = columns >= _RANGE + _COUNT + _SHARE + _BESIDE_SHARES
    wide = columns - _RANGE - _COUNT - 2 - (_SHARE if shares else 0)
    lines = []
    for b in reversed(bins):
        parts = [
            Span(f"{number(b.low, 3):>8} .. {number(b.high, 3):<8}"[:_RANGE], "dim"),
            Span(f"{b.n:>{_COUNT},}"),
        ]
        if shares:
            parts.append(Span(f"{_percent(b.n, n):>{_SHARE}}", "dim"))
        if wide >= _LEAST_BAR:
            parts.append(Span("  " + bar(math.log10(1 + b.n), full, wide), "minus" if b.low < 0 else "plus"))
        lines.append(line(*parts))
    return lines


def merged(bins: Sequence[Bin], most: int) -> list[Bin]:
    """About this many intervals, from neighbours; none crosses 0."""
    sides = [b for b in bins if b.low < 0], [b for b in bins if b.low >= 0]
    for step in range(1, len(bins) + 1):
        groups = [side[i : i + step] for side in sides for i in range(0, len(side), step)]
        if len(groups) <= most:
            break
    else:
        return list(bins)
    return [_joined(g) for g in groups]


def _joined(bins: Sequence[Bin]) -> Bin:
    low, high, count = bins[0].low, bins[-1].high, sum(b.n for b in bins)
    return Bin(low, high, count, None, (bins[-1] if low < 0 else bins[0]).beyond)


def _percent(count: int, n: int) -> str:
    share = 100 * count / n if n else 0.0
    return "" if not count else "<0.01 %" if share < 0.01 else f"{share:.2f} %" if share < 10 else f"{share:.1f} %"
