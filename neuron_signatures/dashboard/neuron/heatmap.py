"""Tokens coloured by a neuron's activation, as escaped HTML for the page or a standalone file.

Emerald is positive and orange negative. With r = |act| / largest |act|, opacity is
`floor + (1 - floor) * log10(1 + 9 r)`; the default floor is 0.05.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from neuron_signatures.runs.tokens import brief, escape, visible

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

Scale = Literal["log", "linear", "sqrt"]
POSITIVE, NEGATIVE = "52,211,153", "251,146,60"
_DARK_TEXT_FROM = 0.62  # from this opacity on, black text has more contrast than white in the dark theme

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
.ns-heat .m{outline:2px solid rgba(99,102,241,.9);outline-offset:-1px}
.ns-heat.compact{font-size:.8rem;line-height:1.15}
.ns-heat.compact .p{margin:0 0 .25rem}
.ns-heat.compact .t{padding:0 2px}
.ns-heat .k{display:flex;align-items:center;gap:.5rem;font-size:.8rem;opacity:.85;margin:0 0 .5rem}
.ns-heat .k i{display:inline-block;width:9rem;height:.7rem;border-radius:3px}
.ns-heat .k i.up{width:1.4rem}
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


@dataclass(frozen=True)
class HeatmapOptions:
    """`per_row` 0 wraps tokens freely; `decimals` None hides values; `threshold` is a share of the largest |act|."""

    per_row: int = 0
    decimals: int | None = None
    normalise: Literal["prompt", "run"] = "prompt"
    scale: Scale = "log"
    threshold: float = 0.0
    floor: float = 0.05
    compact: bool = False


def opacity(share: float, scale: Scale = "log", floor: float = 0.05) -> float:
    """Opacity of a token whose |act| is `share` (0 to 1) of the largest."""
    share = min(max(share, 0.0), 1.0)
    grown = {"log": math.log10(1 + 9 * share), "linear": share, "sqrt": math.sqrt(share)}[scale]
    return floor + (1 - floor) * grown


def largest(values: Float32[np.ndarray, " pos"], counts: Bool[np.ndarray, " pos"]) -> float:
    """The largest finite |act| of the included positions; 0 if there is none."""
    finite = values[counts & np.isfinite(values)]
    return float(np.abs(finite).max()) if finite.size else 0.0


def heatmap(
    lines: Sequence[Line], options: HeatmapOptions, *, run_largest: float | None = None, key: bool = True
) -> str:
    """The heatmap as HTML. `run_largest` is the run's largest |act|, for `normalise="run"`; `key` adds a colour bar."""
    whole = run_largest if options.normalise == "run" else None
    tops = [largest(line.values, line.counts) if whole is None else whole for line in lines]
    body = [_line(line, options, top) for line, top in zip(lines, tops, strict=True)]
    if key and lines:
        hatched = any((line.counts & ~np.isfinite(line.values)).any() for line in lines)
        shared = tops[0] if whole is not None or len(lines) == 1 else None
        body.insert(0, _key(shared, options, "" if any(tops) else _why_nothing(lines), hatched=hatched))
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


def _line(line: Line, options: HeatmapOptions, top: float) -> str:
    cells = [_cell(line, pos, options, top) for pos in range(len(line.tokens))]
    step = options.per_row or max(len(cells), 1)
    rows = "".join(f'<div class="r">{"".join(cells[i : i + step])}</div>' for i in range(0, len(cells), step))
    title = f'<div class="h">{html.escape(brief(line.title))}</div>' if line.title else ""
    return f'<div class="p">{title}{rows}</div>'


def _cell(line: Line, pos: int, options: HeatmapOptions, top: float) -> str:
    value = float(line.values[pos])
    finite = math.isfinite(value)
    shown = f"{value:+.{4 if options.decimals is None else options.decimals}f}" if finite else _name(value)
    number = "" if options.decimals is None else f"<small>{shown}</small>"
    hover = f"position {pos}, id {line.token_ids[pos]}, act {value:+.6g}" if finite else f"position {pos}, {shown}"
    classes, style = "t", ""
    if not line.counts[pos]:
        classes, hover = "t x", hover + " (excluded)"
    elif not finite:
        classes = "t nan" if math.isnan(value) else "t up" if value > 0 else "t down"
    elif top > 0 and abs(value) > 0 and abs(value) / top >= options.threshold:
        alpha = opacity(abs(value) / top, options.scale, options.floor)
        ink = ";color:#111" if alpha >= _DARK_TEXT_FROM else ""
        style = f' style="background:rgba({POSITIVE if value > 0 else NEGATIVE},{alpha:.3f}){ink}"'
    token = html.escape(visible(line.tokens[pos])) or "&nbsp;"
    return f'<span class="{classes}" title="{html.escape(hover)}"{style}>{token}{number}</span>'


def _name(value: float) -> str:
    return "NaN" if math.isnan(value) else "+inf" if value > 0 else "-inf"


def _why_nothing(lines: Sequence[Line]) -> str:
    if not any(line.counts.any() for line in lines):
        return "no token is included"
    if not any(np.isfinite(line.values[line.counts]).any() for line in lines):
        return "no value is finite"
    return "every included activation is zero"


def _key(top: float | None, options: HeatmapOptions, why: str, *, hatched: bool) -> str:
    """The colour bar, or `why` nothing is coloured; explains hatching if there is any."""
    more = '<i class="up"></i><span>hatched: infinite, in the colour of its sign; grey: NaN</span>' if hatched else ""
    if why:
        return f'<div class="k"><span>nothing to colour: {why}</span>{more}</div>'
    low, high = ("-max", "+max") if top is None else (f"{-top:.3g}", f"+{top:.3g}")
    stops = []
    for i in range(-10, 11):
        alpha = opacity(abs(i) / 10, options.scale, options.floor)
        stops.append(f"rgba({POSITIVE if i > 0 else NEGATIVE if i < 0 else '148,163,184'},{alpha if i else 0.05:.2f})")
    whose = "of the run" if options.normalise == "run" else "of each prompt" if top is None else "of this prompt"
    return (
        f'<div class="k"><span>{low}</span><i style="background:linear-gradient(to right,{",".join(stops)})"></i>'
        f"<span>{high}</span><span>largest |act| {whose}</span>{more}</div>"
    )
