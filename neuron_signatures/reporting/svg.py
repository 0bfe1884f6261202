"""Small figures as inline SVG: values with intervals beside a null, curves, histograms, and bars.

Colours come from the style sheet by class, so that figures follow the light and the dark theme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from neuron_signatures.reporting.html import Html, el, join

WIDTH, HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 10, 34
N_LINES = 6
"""Colours of lines in the style sheet."""


class Scale(NamedTuple):
    """From values to pixels."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, value = (map(math.log10, (self.low, self.high, value)) if self.log else
                            (self.low, self.high, value))  # fmt: skip
        share = 0.5 if high == low else (value - low) / (high - low)
        return self.start + min(max(share, -0.02), 1.02) * (self.stop - self.start)


@dataclass(frozen=True)
class Null:
    """What chance gives: its mean, a range, and single draws; undefined parts are None or empty."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    draws: Sequence[float] = ()


def interval_row(
    scale: Scale, value: float | None, low: float | None, high: float | None, null: Null | None = None,
    *, label: str = "",
) -> Html:  # fmt: skip
    """A value with its interval over a null, on a scale that rows of a table share; 20 px high."""
    width, middle = scale.start + scale.stop, 10.0
    parts: list[Html] = []
    if scale.low < 0 < scale.high:
        parts.append(el("line", x1=scale.at(0), x2=scale.at(0), y1=0.0, y2=20.0, class_="zero"))
    if null is not None:
        if null.low is not None and null.high is not None:
            x, end = scale.at(null.low), scale.at(null.high)
            parts.append(el("rect", x=x, y=4.0, width=max(end - x, 1.0), height=12.0, class_="null"))
        parts += [el("line", x1=scale.at(d), x2=scale.at(d), y1=5.0, y2=15.0, class_="draw") for d in null.draws]
        if null.mean is not None:
            x = scale.at(null.mean)
            parts.append(el("line", x1=x, x2=x, y1=2.0, y2=18.0, class_="mean"))
    if low is not None and high is not None:
        parts.append(el("line", x1=scale.at(low), x2=scale.at(high), y1=middle, y2=middle, class_="ci"))
    if value is not None:
        parts.append(el("circle", cx=scale.at(value), cy=middle, r=4, class_="dot"))
    return _svg(width, 20.0, parts, label, class_="row")


def bar(value: float, largest: float, *, width: float = 90.0) -> Html:
    """A bar from the middle, to the right for positive values."""
    half = width / 2
    length = half * min(abs(value) / largest, 1.0) if largest > 0 else 0.0
    x = half if value >= 0 else half - length
    return _svg(
        width, 12.0,
        [el("line", x1=half, x2=half, y1=0.0, y2=12.0, class_="zero"),
         el("rect", x=x, y=2.0, width=max(length, 0.5), height=8.0, class_="pos" if value >= 0 else "neg")],
        "", class_="row",
    )  # fmt: skip


class Line(NamedTuple):
    name: str
    x: Sequence[float]
    y: Sequence[float]
    is_main: bool = False


class Band(NamedTuple):
    """A range at each x, such as that of random sets, with its mean."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    mean: Sequence[float] = ()


@dataclass(frozen=True)
class Axes:
    """Labels and ends; an end that is None is that of the data."""

    x: str
    y: str
    log_x: bool = False
    whole_x: bool = False
    """Whether x counts something: only whole numbers have ticks."""
    low: float | None = None
    high: float | None = None
    levels: Sequence[float] = ()
    """Values of y at which a dotted line is drawn."""
    marks: Sequence[tuple[float, str]] = ()
    """Values of x at which a vertical line is drawn, with a word."""


def curves(lines: Sequence[Line], axes: Axes, bands: Sequence[Band] = (), *, label: str = "") -> Html:
    """Lines over ranges. One band with several x is an area; bands with one x are bars."""
    xs = [x for line in lines for x in line.x] + [x for b in bands for x in b.x]
    ys = [y for line in lines for y in line.y] + [y for b in bands for y in (*b.low, *b.high)] + list(axes.levels)
    if not xs or not ys:
        return Html("")
    x = Scale(min(xs), max(xs), _LEFT, WIDTH - _RIGHT, axes.log_x and min(xs) > 0)
    low, high = (min(ys) if axes.low is None else axes.low), (max(ys) if axes.high is None else axes.high)
    pad = 0.04 * ((high - low) or 1.0)
    y = Scale(low - pad, high + pad, HEIGHT - _BOTTOM, _TOP)
    parts = _frame(x, y, axes)
    for b in bands:
        parts += _band(b, x, y)
    for i, line in enumerate(lines):
        points = [(x.at(a), y.at(b)) for a, b in zip(line.x, line.y, strict=True)]
        kind = f"l{i % N_LINES}" + ("" if line.is_main or len(lines) == 1 else " thin")
        parts.append(el("polyline", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in points), class_=kind))
        parts += [el("circle", cx=a, cy=b, r=3 if line.is_main or len(lines) == 1 else 2, class_=kind + " fill")
                  for a, b in points]  # fmt: skip
    return _svg(WIDTH, HEIGHT, parts, label)


def key(names: Sequence[str]) -> Html:
    """The names of lines with their colours."""
    return el("div", *(el("span", el("i", class_=f"l{i % N_LINES}"), name) for i, name in enumerate(names)),
              class_="key")  # fmt: skip


def histogram(values: Sequence[float], null: Sequence[float], axis: str, *, label: str = "") -> Html:
    """Shares of values and of null draws in the same 24 intervals: values as bars, the null as an outline."""
    both = [v for v in (*values, *null) if math.isfinite(v)]
    if not both:
        return Html("")
    low, high = min(both), max(both)
    if low == high:
        low, high = low - 0.5, high + 0.5
    own, other = _shares(values, low, high), _shares(null, low, high)
    top = max((*own, *other), default=0.0) or 1.0
    x = Scale(low, high, _LEFT, WIDTH - _RIGHT)
    y = Scale(0.0, _HEADROOM * top, HEIGHT - _BOTTOM, _TOP)
    parts = _frame(x, y, Axes(axis, "share"), percent=True)
    step = (x.stop - x.start) / _BINS
    for i, share in enumerate(own):
        if share:
            parts.append(el("rect", x=x.start + i * step + 0.5, y=y.at(share), width=step - 1.0,
                            height=y.start - y.at(share), class_="bin"))  # fmt: skip
    if null:
        steps = [(x.start + (i + e) * step, y.at(s)) for i, s in enumerate(other) for e in (0, 1)]
        ends = [(x.start, y.start), *steps, (x.stop, y.start)]
        parts.append(el("polyline", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in ends), class_="nullline"))
    return _svg(WIDTH, HEIGHT, parts, label)


_BINS = 24
_HEADROOM = 1.12
"""Room above the largest share, for the name of the axis."""


def _shares(values: Sequence[float], low: float, high: float) -> list[float]:
    counts = [0] * _BINS
    n = 0
    for v in values:
        if math.isfinite(v):
            counts[min(int((v - low) / (high - low) * _BINS), _BINS - 1)] += 1
            n += 1
    return [c / n if n else 0.0 for c in counts]


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About `n` round numbers from `low` to `high`."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / n
    size = 10.0 ** math.floor(math.log10(raw))
    step = size * next(m for m in (1, 2, 5, 10) if raw <= m * size)
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, first + 4 * n) if i * step <= high + 1e-9 * span]


def number(value: float) -> str:
    """A tick."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _frame(x: Scale, y: Scale, axes: Axes, *, percent: bool = False) -> list[Html]:
    """Grid, ticks, labels, levels and marks."""
    parts = []
    for t in ticks(y.low, y.high):
        at = y.at(t)
        parts.append(el("line", x1=x.start, x2=x.stop, y1=at, y2=at, class_="grid"))
        shown = f"{100 * t:.3g} %" if percent else number(t)
        parts.append(el("text", shown, x=x.start - 5, y=at + 3.5, class_="end"))
    for t in _decades(x.low, x.high) if x.log else ticks(x.low, x.high):
        if axes.whole_x and t != int(t):
            continue
        at = x.at(t)
        parts.append(el("line", x1=at, x2=at, y1=y.start, y2=y.start + 4, class_="axis"))
        parts.append(el("text", number(t), x=at, y=y.start + 15, class_="mid"))
    parts.append(el("line", x1=x.start, x2=x.stop, y1=y.start, y2=y.start, class_="axis"))
    parts.append(el("text", axes.x, x=(x.start + x.stop) / 2, y=HEIGHT - 4, class_="mid name"))
    if axes.y:
        parts.append(el("text", axes.y, x=x.start + 4, y=y.stop + 8, class_="name"))
    for level in axes.levels:
        parts.append(el("line", x1=x.start, x2=x.stop, y1=y.at(level), y2=y.at(level), class_="level"))
    for mark, word in axes.marks:
        at = x.at(mark)
        parts.append(el("line", x1=at, x2=at, y1=y.stop, y2=y.start, class_="level"))
        end = at > (x.start + x.stop) / 2
        parts.append(el("text", word, x=at + (-4 if end else 4), y=y.start - 5, class_="end" if end else None))
    return parts


def _band(b: Band, x: Scale, y: Scale) -> list[Html]:
    if len(b.x) > 1:
        top = [(x.at(a), y.at(v)) for a, v in zip(b.x, b.high, strict=True)]
        bottom = [(x.at(a), y.at(v)) for a, v in zip(b.x, b.low, strict=True)]
        points = " ".join(f"{a:.1f},{v:.1f}" for a, v in (*top, *reversed(bottom)))
        return [el("polygon", points=points, class_="null")]
    at = x.at(b.x[0])
    top_, bottom_ = y.at(b.high[0]), y.at(b.low[0])
    parts = [el("rect", x=at - 3.0, y=top_, width=6.0, height=max(bottom_ - top_, 1.5), class_="null")]
    parts += [el("line", x1=at - 4, x2=at + 4, y1=y.at(m), y2=y.at(m), class_="mean") for m in b.mean]
    return parts


def _decades(low: float, high: float) -> list[float]:
    found = [10.0**i for i in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    return [t for t in found if low <= t <= high] or [low, high]


def _svg(width: float, height: float, parts: Sequence[Html], label: str, *, class_: str = "plot") -> Html:
    named = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return el("svg", join(parts), viewBox=f"0 0 {width:g} {height:g}", width=float(width), height=float(height),
              class_=class_, **named)  # fmt: skip
