"""Windows of a corpus as coloured running text, escaped HTML; each opens to its full text.

Colours are those of the heatmap of prompts. A token without a stored activation has no colour.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

import numpy as np

from neuron_signatures.dashboard.neuron.colouring import Colouring
from neuron_signatures.dashboard.neuron.heatmap import NEGATIVE, POSITIVE, HeatmapOptions, opacity, shade
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.records.passages import Passage, acts_of, running

_MOST_NAMES = 5
STYLE = """
.ns-pass{font-size:.92rem;line-height:1.7}
.ns-pass details{border-top:1px solid rgba(148,163,184,.25);padding:.35rem 0}
.ns-pass summary{display:grid;grid-template-columns:4.1rem minmax(0,1fr);gap:0 .7rem;cursor:pointer;list-style:none}
.ns-pass summary::-webkit-details-marker{display:none}
.ns-pass .v{text-align:right;font-variant-numeric:tabular-nums;font-weight:600;white-space:nowrap}
.ns-pass .b{min-width:0}
.ns-pass .s{white-space:pre-wrap;overflow-wrap:anywhere}
.ns-pass .f,.ns-pass details[open] .e{display:none}
.ns-pass details[open] .f{display:inline}
.ns-pass .m{display:flex;flex-wrap:wrap;gap:0 .6rem;font-size:.75rem;line-height:1.5;opacity:.7;overflow-wrap:anywhere}
.ns-pass .q{border:1px solid currentColor;border-radius:.6rem;padding:0 .4rem;opacity:.8}
.ns-pass .t{border-radius:3px;padding:1px 1px;margin:0 -1px}
.ns-pass .k{font-weight:700;text-decoration:underline;text-decoration-thickness:2px;text-underline-offset:3px}
.ns-pass .x{opacity:.45}
.ns-pass .nan{outline:1px dotted currentColor}
.ns-pass .t small{font-size:.68em;opacity:.8;vertical-align:sub;padding:0 2px 0 1px}
.ns-pass .e{opacity:.5}
.ns-pass .h{font-size:.8rem;font-weight:600;margin:.8rem 0 .15rem}
.ns-key{display:flex;flex-wrap:wrap;align-items:center;gap:.15rem .5rem;font-size:.8rem;opacity:.85}
.ns-key i{display:inline-block;width:9rem;height:.7rem;border-radius:3px}
"""


def passages_html(
    passages: Sequence[Passage], colouring: Colouring, options: HeatmapOptions, *, full: bool = False, title: str = ""
) -> str:
    """Passages below each other, with a title that must not come from data. `full` opens them all."""
    head = f'<div class="h">{html.escape(title)}</div>' if title else ""
    body = "".join(_passage(p, colouring, options, full=full) for p in passages)
    return f'<style>{STYLE}</style><div class="ns-pass">{head}{body}</div>'


def colour_key(colouring: Colouring, options: HeatmapOptions) -> str:
    """The colour bar with its ends."""
    own = options.normalise == "prompt"
    if not own and not colouring.limit.value:
        return f'<style>{STYLE}</style><div class="ns-key">nothing to colour: every activation is zero</div>'
    low, high = ("-max", "+max") if own else (f"{-colouring.limit.value:.3g}", f"+{colouring.limit.value:.3g}")
    stops = ",".join(_stop(i, options) for i in range(-10, 11))
    whose = "largest magnitude of each window" if own else colouring.full_scale()
    return (
        f'<style>{STYLE}</style><div class="ns-key"><span>{low}</span>'
        f'<i style="background:linear-gradient(to right,{stops})"></i><span>{high}</span>'
        f"<span>{colouring.quantity()}; full colour: {whose}; the peak is underlined</span></div>"
    )


def _stop(i: int, options: HeatmapOptions) -> str:
    alpha = opacity(abs(i) / 10, options.scale, options.floor)
    return f"rgba({POSITIVE if i > 0 else NEGATIVE if i < 0 else '148,163,184'},{alpha if i else 0.05:.2f})"


def _passage(p: Passage, colouring: Colouring, options: HeatmapOptions, *, full: bool) -> str:
    acts = acts_of(p.window)
    shown = colouring.of(acts)
    top = _largest(shown) if options.normalise == "prompt" else colouring.limit.value
    cells = [_cell(p, i, float(acts[i]), float(shown[i]), colouring, options, top) for i in range(len(acts))]
    before, after = (_hidden(part) for part in (cells[: p.start], cells[p.stop :]))
    value = "" if p.value is None else f"{p.value:+.4g}"
    return (
        f'<details{" open" if full else ""}><summary><span class="v">{value}</span><span class="b">'
        f'<span class="s">{before}{"".join(cells[p.start : p.stop])}{after}</span>'
        f"{_where(p)}</span></summary></details>"
    )


def _hidden(cells: Sequence[str]) -> str:
    """Tokens that only the full text has; an ellipsis in the short one."""
    return f'<span class="e">…</span><span class="f">{"".join(cells)}</span>' if cells else ""


def _where(p: Passage) -> str:
    """Parts, the number of equal windows, and the document."""
    parts = "".join(f'<span class="q">{part}</span>' for part in p.parts)
    names = list(dict.fromkeys(w.document_name for w in p.windows))
    listed = "\n".join(brief(n) for n in names[:_MOST_NAMES]) + ("\n…" if len(names) > _MOST_NAMES else "")
    times = f'<span title="{html.escape(listed)}">&times;{p.n}</span>' if p.n > 1 else ""
    return f'<span class="m">{parts}{times}<span>{html.escape(brief(names[0]))}</span></span>'


def _cell(
    p: Passage, i: int, act: float, value: float, colouring: Colouring, options: HeatmapOptions, top: float
) -> str:
    window = p.window
    before, text = map(html.escape, running(window.tokens[i]))
    unknown = window.acts is None and math.isnan(act)
    place = f"position {i}, id {window.token_ids[i]}"
    if unknown:
        return f'{before}<span title="{place}">{text}</span>'
    classes, style = shade(value, top, options)
    hover = f"act {act:+.4g}, {place}"
    if colouring.show == "relative" and math.isfinite(value):
        hover = f"act {act:+.4g}, {value:+.3g} std from the mean, {place}"
    if i < window.counted_from:
        classes, style, hover = "t x", "", hover + " (excluded)"
    if i == p.pos and window.pos is not None:
        classes += " k"
    number = ""
    if options.decimals is not None and math.isfinite(value) and abs(value) >= options.threshold * top:
        number = f"<small>{colouring.number(value, options.decimals)}</small>"
    return f'{before}<span class="{classes}" title="{hover}"{style}>{text}{number}</span>'


def _largest(values: Iterable[float]) -> float:
    found = np.abs(np.asarray(values, np.float64))
    finite = found[np.isfinite(found)]
    return float(finite.max()) if finite.size else 0.0
