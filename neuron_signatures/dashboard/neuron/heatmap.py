"""Tokens coloured by a neuron's activation, as escaped HTML for the page or a standalone file.

Emerald is positive and orange negative. With r = |value| / full scale, at most 1, opacity is
`floor + (1 - floor) * log10(1 + 9 r)`; the default floor is 0.05. Values beyond the full scale have an outline.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from neuron_signatures.dashboard.neuron.colouring import Colouring
from neuron_signatures.runs.tokens import brief, escape, visible
from neuron_signatures.views.scale import ScaleOf, strength

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64

Scale = Literal["log", "linear", "sqrt"]
POSITIVE, NEGATIVE = "52,211,153", "251,146,60"
DARK_TEXT_FROM = 0.62  # from this opacity on, black text has more contrast than white in the dark theme

STYLE = """
.ns-heat{font-size:.95rem;line-height:1.35}
.ns-heat .p{margin:0 0 .7rem}
.ns-heat .h{font-size:.8rem;opacity:.7;margin:0 0 .15rem;overflow-wrap:anywhere}
.ns-heat .r{display:flex;flex-wrap:wrap;gap:2px 2px}
.ns-heat .t{display:inline-block;padding:1px 4px;border-radius:3px;text-align:center;white-space:pre-wrap;
overflow-wrap:anywhere;font-family:"Source Code Pro",ui-monospace,monospace;font-size:.9em}
.ns-heat .t small{display:block;font-size:.72em;opacity:.85;white-space:nowrap}
.ns-heat .x{opacity:.45;text-decoration:line-through dotted}
.ns-heat .up,.ns-heat .down,.ns-heat .nan{outline:1px dotted currentColor;outline-offset:-1px}
.ns-heat .up{background:repeating-linear-gradient(45deg,rgba(52,211,153,.5) 0 3px,transparent 3px 6px)}
.ns-heat .down{background:repeating-linear-gradient(45deg,rgba(251,146,60,.5) 0 3px,transparent 3px 6px)}
.ns-heat .nan{background:repeating-linear-gradient(45deg,rgba(148,163,184,.5) 0 3px,transparent 3px 6px)}
.ns-heat .o{outline:2px solid currentColor;outline-offset:-2px}
.ns-heat.compact{font-size:.8rem;line-height:1.15}
.ns-heat.compact .p{margin:0 0 .25rem}
.ns-heat.compact .t{padding:0 2px}
.ns-heat .k{display:flex;flex-wrap:wrap;align-items:center;gap:.15rem .5rem;font-size:.8rem;opacity:.85;
margin:0 0 .5rem}
.ns-heat .k i{display:inline-block;width:9rem;height:.7rem;border-radius:3px}
.ns-heat .k i.up,.ns-heat .k i.o{width:1.4rem}
"""


class Line(NamedTuple):
    """One prompt of a heatmap."""

    title: str
    """Raw; may be empty."""
    tokens: Sequence[str]
    """Raw."""
    token_ids: Sequence[int]
    values: Float32[np.ndarray, " pos"]
    counts: Bool[np.ndarray, " pos"]
    """Mask of the included positions; others are struck out and have no colour."""
    first: int = 0
    """Position of the first token in the prompt."""
    cut: tuple[bool, bool] = (False, False)
    """Whether tokens before and after these are left out."""


@dataclass(frozen=True)
class HeatmapOptions:
    """`per_row` 0 wraps tokens freely; `decimals` None hides values; `threshold` is a share of the full scale.

    With `normalise="prompt"`, the full scale is the largest magnitude of each line; else it is that of the colouring,
    over the run or over the records of a corpus.
    """

    per_row: int = 0
    decimals: int | None = None
    normalise: ScaleOf = "run"
    scale: Scale = "log"
    threshold: float = 0.0
    floor: float = 0.05
    compact: bool = False


def opacity(share: float, scale: Scale = "log", floor: float = 0.05) -> float:
    """Opacity of a token whose magnitude is `share` (0 to 1) of the full scale."""
    share = min(max(share, 0.0), 1.0)
    grown = {"log": strength(share), "linear": share, "sqrt": math.sqrt(share)}[scale]
    return floor + (1 - floor) * grown


def heatmap(lines: Sequence[Line], colouring: Colouring, options: HeatmapOptions, *, key: bool = True) -> str:
    """The heatmap as HTML; `key` adds a legend.

    The full scale is that of `colouring`, or with `normalise="prompt"` the largest magnitude of each line.
    """
    shown = [colouring.of(line.values) for line in lines]
    own = options.normalise == "prompt"
    tops = [_largest(v, line.counts) if own else colouring.limit.value for v, line in zip(shown, lines, strict=True)]
    body = [_line(line, v, colouring, options, top) for line, v, top in zip(lines, shown, tops, strict=True)]
    if key and lines:
        body.insert(0, _key(lines, shown, colouring, options, tops))
    compact = " compact" if options.compact else ""
    return f'<style>{STYLE}</style><div class="ns-heat{compact}">{"".join(body)}</div>'


def document(title: str, facts: Sequence[tuple[str, str]], block: str) -> str:
    """A standalone HTML file with one heatmap, without scripts or external resources."""
    rows = "".join(f"<dt>{html.escape(escape(k))}</dt><dd>{html.escape(escape(v))}</dd>" for k, v in facts)
    return (
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'\">"
        "<meta name=\"referrer\" content=\"no-referrer\"><meta name=\"color-scheme\" content=\"light dark\">"
        f"<title>{html.escape(escape(title))}</title><style>{_PAGE}</style></head><body>"
        f"<h1>{html.escape(escape(title))}</h1><dl>{rows}</dl>{block}</body></html>\n"
    )  # fmt: skip


_PAGE = """
body{font-family:system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;background:#fff;color:#1f2937}
h1{font-size:1.3rem}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;font-size:.85rem}
dt{opacity:.65}dd{margin:0;overflow-wrap:anywhere}
@media (prefers-color-scheme:dark){body{background:#0e1117;color:#e5e7eb}}
"""


def _largest(values: Float64[np.ndarray, " pos"], counts: Bool[np.ndarray, " pos"]) -> float:
    """The largest finite magnitude of the included positions; 0 if there is none."""
    finite = values[counts & np.isfinite(values)]
    return float(np.abs(finite).max()) if finite.size else 0.0


def _line(
    line: Line, shown: Float64[np.ndarray, " pos"], colouring: Colouring, options: HeatmapOptions, top: float
) -> str:
    cells = [_cell(line, i, float(shown[i]), colouring, options, top) for i in range(len(line.tokens))]
    step = options.per_row or max(len(cells), 1)
    rows = [cells[i : i + step] for i in range(0, len(cells), step)]
    if rows and line.cut[0]:
        rows[0].insert(0, "<span>…</span>")
    if rows and line.cut[1]:
        rows[-1].append("<span>…</span>")
    title = f'<div class="h">{html.escape(brief(line.title))}</div>' if line.title else ""
    return f'<div class="p">{title}{"".join(f"""<div class="r">{"".join(row)}</div>""" for row in rows)}</div>'


def _cell(line: Line, i: int, value: float, colouring: Colouring, options: HeatmapOptions, top: float) -> str:
    raw, finite = float(line.values[i]), math.isfinite(value)
    number = ""
    if options.decimals is not None:
        number = f"<small>{colouring.number(value, options.decimals) if finite else _name(value)}</small>"
    hover = _hover(line, i, raw, value, colouring)
    classes, style = shade(value, top, options)
    if not line.counts[i]:
        classes, style, hover = "t x", "", hover + " (excluded)"
    token = html.escape(visible(line.tokens[i])) or "&nbsp;"
    return f'<span class="{classes}" title="{html.escape(hover)}"{style}>{token}{number}</span>'


def shade(value: float, top: float, options: HeatmapOptions) -> tuple[str, str]:
    """Classes and `style` attribute of a token with this value, if the full scale is `top`."""
    if not math.isfinite(value):
        return "t nan" if math.isnan(value) else "t up" if value > 0 else "t down", ""
    if not (top > 0 and abs(value) > 0 and abs(value) / top >= options.threshold):
        return "t", ""
    alpha = opacity(abs(value) / top, options.scale, options.floor)
    ink = ";color:#111" if alpha >= DARK_TEXT_FROM else ""
    style = f' style="background:rgba({POSITIVE if value > 0 else NEGATIVE},{alpha:.3f}){ink}"'
    return "t o" if abs(value) > top else "t", style


def _hover(line: Line, i: int, raw: float, value: float, colouring: Colouring) -> str:
    act = f"act {raw:+.6g}" if math.isfinite(raw) else _name(raw)
    std = f", {value:+.3g} std from the mean" if colouring.show == "relative" and math.isfinite(value) else ""
    return f"position {line.first + i}, id {line.token_ids[i]}, {act}{std}"


def _name(value: float) -> str:
    return "NaN" if math.isnan(value) else "+inf" if value > 0 else "-inf"


def _why_nothing(lines: Sequence[Line], shown: Sequence[np.ndarray], top: float) -> str:
    """Why no token is coloured; empty if one is."""
    if not any(line.counts.any() for line in lines):
        return "no token is included"
    finite = [v[line.counts & np.isfinite(v)] for line, v in zip(lines, shown, strict=True)]
    if not any(v.size for v in finite):
        return "no value is finite"
    return "" if top and any(v.any() for v in finite) else "every included activation is zero"


def _key(
    lines: Sequence[Line], shown: Sequence[np.ndarray], colouring: Colouring, options: HeatmapOptions,
    tops: Sequence[float],
) -> str:  # fmt: skip
    """The colour bar, or why nothing is coloured; explains outlines and hatching if there are any."""
    more = ""
    if any((line.counts & (np.abs(v) > top) & np.isfinite(v)).any() for line, v, top in zip(
        lines, shown, tops, strict=True
    )):  # fmt: skip
        more += '<i class="o"></i><span>outlined: beyond the scale</span>'
    if any((line.counts & ~np.isfinite(v)).any() for line, v in zip(lines, shown, strict=True)):
        more += '<i class="up"></i><span>hatched: infinite, in the colour of its sign; grey: NaN</span>'
    if why := _why_nothing(lines, shown, max(tops)):
        return f'<div class="k"><span>nothing to colour: {why}</span>{more}</div>'
    own = options.normalise == "prompt"
    low, high = ("-max", "+max") if own and len(lines) > 1 else (f"{-tops[0]:.3g}", f"+{tops[0]:.3g}")
    stops = []
    for i in range(-10, 11):
        alpha = opacity(abs(i) / 10, options.scale, options.floor)
        stops.append(f"rgba({POSITIVE if i > 0 else NEGATIVE if i < 0 else '148,163,184'},{alpha if i else 0.05:.2f})")
    which = "of each prompt" if len(lines) > 1 else "of this prompt"
    whose = f"largest magnitude {which}" if own else colouring.full_scale()
    return (
        f'<div class="k"><span>{low}</span><i style="background:linear-gradient(to right,{",".join(stops)})"></i>'
        f"<span>{high}</span><span>{colouring.quantity()}; full colour: {whose}</span>{more}</div>"
    )
