"""The picture of a circuit as static SVG: what the canvas of the explorer shows, without a script.

Every text is escaped for display and for XML. Colours are classes of the style in the picture; text and lines take the
colour of the page around it.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Final

from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.circuit.labels import (
    SecondLine,
    canvas_texts,
    cut,
    item_lines,
    mark_of,
    score_of,
    target_name,
)
from neuron_signatures.views.circuit.layout import Box, Layout
from neuron_signatures.views.circuit.shown import Item, Shown, ShownEdge
from neuron_signatures.views.interventions.sheets import signed_text

PER_CHARACTER: Final = 6.7
"""Pixels of a character of a label."""
_FULL: Final = 0.95
_POWER: Final = 0.4
"""Shares of Σ|E| span several orders of magnitude."""
STYLE: Final = (
    ".ns-circuit{color-scheme:light dark;font-family:system-ui,sans-serif}"
    ".ns-circuit text{fill:currentColor;font-size:12px;text-anchor:middle}"
    ".ns-circuit .t{font-family:ui-monospace,monospace}.ns-circuit .l{text-anchor:start;font-weight:600;opacity:.7}"
    ".ns-circuit .n{font-weight:600}.ns-circuit .w{font-size:11.5px;opacity:.85}"
    ".ns-circuit .rule{stroke:#8884}.ns-circuit .band{fill:#8881}"
    ".ns-circuit .e{fill:none;stroke:#34be8c}.ns-circuit .e.m{stroke:#fb923c;stroke-dasharray:5 3}"
    ".ns-circuit .o{fill:Canvas}"
    ".ns-circuit .b{fill:#94a3b8;stroke:#888}.ns-circuit .up .b{fill:#34d399;stroke:#16a574}"
    ".ns-circuit .dn .b{fill:#fb923c;stroke:#e17323;stroke-dasharray:4 2}"
    ".ns-circuit .g .b{stroke:#7c3aed;stroke-width:2}.ns-circuit .tg .b{stroke:currentColor;stroke-width:2}"
)


def picture(shown: Shown, layout: Layout, second: SecondLine = "label") -> str:
    """An `svg` element. Widths and dashes of edges, marks and shades of nodes as on the canvas."""
    items = {item.id: item for item in shown.items}
    boxes = {box.id: box for box in layout.boxes}
    strongest = max((abs(score_of(i) or 0.0) for i in shown.items), default=0.0)
    title = f"Circuit of {target_name(shown.graph.prompt)}: {len(items)} nodes, {len(shown.edges)} edges"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ns-circuit" role="img" '
        f'viewBox="0 0 {_n(layout.width)} {_n(layout.height)}" width="{_n(layout.width)}">',
        f"<title>{_text(title)}</title><style>{STYLE}</style>", *_background(layout),
        *(_edge(e, scale, boxes[e.source], boxes[e.target], items) for e, scale in reversed(
            list(zip(shown.edges, edge_scales(shown.edges), strict=True)))),
        *(_node(item, boxes[item.id], strongest, shown, second) for item in shown.items), "</svg>",
    ]  # fmt: skip
    return "".join(parts)


def curve(source: Box, target: Box) -> str:
    """The path of an edge: from the top of the lower box to the bottom of the upper one."""
    up = source.y >= target.y
    x0, x1 = source.x + source.width / 2, target.x + target.width / 2
    y0, y1 = (source.y, target.y + target.height) if up else (source.y + source.height, target.y)
    bend = max(14.0, abs(y1 - y0) * 0.42) * (-1 if up else 1)
    return f"M{_n(x0)} {_n(y0)}C{_n(x0)} {_n(y0 + bend)} {_n(x1)} {_n(y1 - bend)} {_n(x1)} {_n(y1)}"


def edge_scales(edges: Sequence[ShownEdge]) -> list[float]:
    """How strong each edge is drawn, 0 to 1: a power of its strength as a part of the 95th percentile."""
    ordered = sorted(e.strength for e in edges)
    full = ordered[int(_FULL * (len(ordered) - 1))] if ordered else 0.0
    return [min(1.0, e.strength / full) ** _POWER if full else 0.0 for e in edges]


def edge_width(scale: float) -> float:
    """Pixels."""
    return 0.5 + 4.5 * scale


def edge_opacity(scale: float) -> float:
    return 0.12 + 0.68 * scale


def shade(item: Item, strongest: float) -> float:
    """Opacity of the fill of a node: its |score| beside the largest one."""
    return 0.06 + 0.5 * abs(score_of(item) or 0.0) / strongest if strongest else 0.06


def _background(layout: Layout) -> list[str]:
    out = []
    for row in layout.rows:
        if not row.is_empty:
            end, middle = row.y + row.height, row.y + row.height / 2 + 4
            out.append(f'<line class="rule" x1="0" x2="{_n(layout.width)}" y1="{_n(end)}" y2="{_n(end)}"/>')
            out.append(f'<text class="l" x="6" y="{_n(middle)}">{_text(row.label)}</text>')
    for i, c in enumerate(layout.columns):
        if i % 2:
            out.append(f'<rect class="band" x="{_n(c.x - 6)}" y="0" width="{_n(c.width + 12)}" '
                       f'height="{_n(layout.height)}"/>')  # fmt: skip
        label = _text(cut(c.label, int((c.width + 10) / PER_CHARACTER)))
        out += [f'<text class="t" x="{_n(c.x + c.width / 2)}" y="{_n(y)}">{label}</text>'
                for y in (15, layout.height - 8)]  # fmt: skip
    return out


def _edge(e: ShownEdge, scale: float, source: Box, target: Box, items: dict[str, Item]) -> str:
    names = [canvas_texts(items[at], 200)[0] for at in (e.source, e.target)]
    said = _text(f"{names[0]} → {names[1]}: direct {signed_text(e.weight)}")
    return (f'<path class="e{" m" if e.weight < 0 else ""}" d="{curve(source, target)}" '
            f'stroke-width="{edge_width(scale):.2f}" opacity="{edge_opacity(scale):.3f}">'
            f"<title>{said}</title></path>")  # fmt: skip


def _node(item: Item, box: Box, strongest: float, shown: Shown, second: SecondLine) -> str:
    name, said = canvas_texts(item, int((box.width - 8) / PER_CHARACTER), second)
    mark = mark_of(item)
    kind = " g" if item.is_group else " tg" if item.kind == "target" else ""
    cls = f"{'up' if mark == '▲' else 'dn' if mark == '▼' else 'no'}{kind}"
    x, radius = box.x + box.width / 2, 12 if item.kind == "embedding" and not item.is_group else 5
    lines = [f'<text class="n" x="{_n(x)}" y="{_n(box.y + (14.5 if said else box.height / 2 + 4))}">'
             f"{_text(mark + name)}</text>"]  # fmt: skip
    if said:
        lines.append(f'<text class="w" x="{_n(x)}" y="{_n(box.y + 27.5)}">{_text(said)}</text>')
    tip = _text("; ".join(item_lines(item, shown.graph.prompt)))
    place = f'x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}" rx="{radius}"'
    return (f'<g class="{cls}"><title>{tip}</title><rect class="o" {place}/><rect class="b" {place} '
            f'fill-opacity="{shade(item, strongest):.3f}"/>{_joined(lines)}</g>')  # fmt: skip


def _joined(parts: Sequence[str]) -> str:
    return "".join(parts)


def _text(text: str) -> str:
    return html.escape(escape(text))


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
