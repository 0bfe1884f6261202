"""Where the nodes of a circuit are drawn: a column for each position, a row for each layer, without overlaps.

Embeddings are at the bottom and the target on top. Coordinates are pixels from the top left, at scale 1.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from neuron_signatures.views.circuit.labels import position_name
from neuron_signatures.views.circuit.shown import Item, Shown

NODE_WIDTH, NODE_HEIGHT, NARROW, WIDE = 88.0, 33.0, 66.0, 132.0
"""A node, and the widths of those in a column with nothing but a token, and in one with a collapsed group."""
_GAP_X, _GAP_Y, _COLUMN_GAP, _ROW_GAP, _EMPTY_ROW = 7.0, 7.0, 11.0, 32.0, 5.0
LEFT, TOP, HEADER = 40.0, 4.0, 22.0
"""Of the row labels, above, and of the column labels, which are above and below."""
WIDTH: Final = 1090.0
"""The width that a layout tries to keep."""
_MOST_ACROSS = 6
_TALL = 26
"""Lines of nodes beyond which the canvas rather gets as wide as `_WIDEST`; by `_WIDER` wider if many columns are."""
_WIDEST, _WIDER = 1220.0, 400.0
_MANY_ROWS, _NARROW_ROW_GAP = 12, 20.0
"""Rows with nodes beyond which they are closer together."""
_NO_POSITION = -1


class Cell(NamedTuple):
    """A place on the canvas."""

    layer: int
    pos: int


class Box(NamedTuple):
    """An item's rectangle."""

    id: str
    x: float
    y: float
    width: float
    height: float


class Column(NamedTuple):
    """A position. `label` is its token, escaped for display; empty for nodes without a position."""

    pos: int
    label: str
    x: float
    width: float


class RowBand(NamedTuple):
    """A layer. `label`: `emb`, the number of the layer, `logit`."""

    layer: int
    label: str
    y: float
    height: float
    is_empty: bool


@dataclass(frozen=True)
class Layout:
    boxes: tuple[Box, ...]
    columns: tuple[Column, ...]
    rows: tuple[RowBand, ...]
    """Every layer, from the target down to the embeddings."""
    width: float
    height: float


def lay_out(shown: Shown, *, width: float = WIDTH) -> Layout:
    """The layout of what is shown. It gets wider than `width` if the columns need it.

    A collapsed group is at the median layer of its nodes and at the position that most of them have.
    """
    cells: dict[Cell, list[Item]] = defaultdict(list)
    for item in shown.items:
        cells[place(item)].append(item)
    prompt = shown.graph.prompt
    positions = sorted({*range(len(prompt.tokens)), *(cell.pos for cell in cells)})
    wide = {pos: _node_width([i for c, found in cells.items() if c.pos == pos for i in found]) for pos in positions}
    across = _across({cell: len(found) for cell, found in cells.items()}, wide, width - LEFT)
    columns, x = [], LEFT
    for pos in positions:
        used = min(across[pos], max((len(found) for c, found in cells.items() if c.pos == pos), default=1))
        label = "" if pos == _NO_POSITION else position_name(prompt, pos)
        columns.append(Column(pos, label, x, used * wide[pos] + (used - 1) * _GAP_X))
        x = columns[-1].x + columns[-1].width + _COLUMN_GAP
    rows = _rows(cells, across, shown.graph.n_layers)
    boxes = _boxes(cells, across, wide, {c.pos: c for c in columns}, {r.layer: r for r in rows})
    return Layout(tuple(boxes), tuple(columns), tuple(rows), x, rows[-1].y + rows[-1].height + HEADER + TOP)


def place(item: Item) -> Cell:
    """The layer and position at which an item is drawn."""
    if not item.is_group:
        return Cell(item.node.layer, item.node.pos)
    counts = Counter(n.pos for n in item.nodes)
    most = max(counts.values())
    return Cell(statistics.median_low(n.layer for n in item.nodes), max(p for p, n in counts.items() if n == most))


def _across(counts: Mapping[Cell, int], wide: Mapping[int, float], width: float) -> dict[int, int]:
    """How many nodes stand side by side in each column: more where that saves most height, while it fits."""
    across = dict.fromkeys(wide, 1)
    used = sum(w + _COLUMN_GAP for w in wide.values())
    widest = _WIDEST - LEFT if used < _WIDEST - LEFT else used + _WIDER
    height = _lines(counts, across)
    while True:
        best = min(wide, key=lambda p: (_lines(counts, {**across, p: across[p] + 1}), p))
        lower, extra = _lines(counts, {**across, best: across[best] + 1}), wide[best] + _GAP_X
        fits = used + extra <= (widest if height > _TALL else width)
        if lower >= height or across[best] >= _MOST_ACROSS or not fits:
            return across
        across[best] += 1
        used, height = used + extra, lower


def _node_width(items: Sequence[Item]) -> float:
    """The width of every node of a column."""
    if any(item.is_group for item in items):
        return WIDE
    return NARROW if all(item.kind == "embedding" for item in items) else NODE_WIDTH


def _lines(counts: Mapping[Cell, int], across: Mapping[int, int]) -> float:
    """Lines of nodes on the whole canvas; ties are broken by the sum over cells."""
    lines: dict[int, int] = defaultdict(int)
    total = 0
    for cell, n in counts.items():
        here = -(-n // across[cell.pos])
        total += here
        lines[cell.layer] = max(lines[cell.layer], here)
    return sum(lines.values()) + total / 1e4


def _rows(cells: Mapping[Cell, Sequence[Item]], across: Mapping[int, int], n_layers: int) -> list[RowBand]:
    out, y = [], TOP + HEADER
    gap = _ROW_GAP if len({cell.layer for cell in cells}) <= _MANY_ROWS else _NARROW_ROW_GAP
    names = {-1: "emb", n_layers: "logit"}
    for layer in range(n_layers, -2, -1):
        lines = max((-(-len(items) // across[c.pos]) for c, items in cells.items() if c.layer == layer), default=0)
        height = lines * (NODE_HEIGHT + _GAP_Y) - _GAP_Y + gap if lines else _EMPTY_ROW
        out.append(RowBand(layer, names.get(layer, str(layer)), y, height, not lines))
        y += height
    return out


def _boxes(
    cells: Mapping[Cell, Sequence[Item]], across: Mapping[int, int], widths: Mapping[int, float],
    columns: Mapping[int, Column],
    rows: Mapping[int, RowBand],
) -> list[Box]:  # fmt: skip
    out = []
    for cell, items in sorted(cells.items()):
        column, row, n = columns[cell.pos], rows[cell.layer], across[cell.pos]
        wide = widths[cell.pos]
        used = -(-len(items) // n) * (NODE_HEIGHT + _GAP_Y) - _GAP_Y
        for i, item in enumerate(items):
            in_line = min(n, len(items) - i // n * n)
            start = column.x + (column.width - in_line * wide - (in_line - 1) * _GAP_X) / 2
            x = start + i % n * (wide + _GAP_X)
            out.append(Box(item.id, x, row.y + (row.height - used) / 2 + i // n * (NODE_HEIGHT + _GAP_Y), wide,
                           NODE_HEIGHT))  # fmt: skip
    return out
