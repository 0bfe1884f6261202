"""The grid of layers and positions as lines: in each cell the number of nodes and the sign of the sum of their scores.

The sign is a character and the path of the cursor a mark, so that colours only repeat them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from neuron_signatures.runs.circuits.graph import Graph, Prompt
from neuron_signatures.runs.tokens import fit
from neuron_signatures.tui.layout.shades import LEVELS
from neuron_signatures.tui.layout.text import Line, Span, clip, line, number, token_text
from neuron_signatures.views.circuit.grid import Cell, Grid, Place
from neuron_signatures.views.scale import strength

_LABEL = 4
_WIDE_CELL = 9


class Marks(NamedTuple):
    """The cell of the cursor, and those on its path to the target."""

    cursor: Place | None = None
    path: Collection[Place] = ()


class GridSize(NamedTuple):
    """Columns of the whole grid with narrow cells, and with cells that also have the sum of scores."""

    narrow: int
    wide: int


def size_of(grid: Grid) -> GridSize:
    n = len(grid.positions)
    return GridSize(_LABEL + n * _cell_width(grid), _LABEL + n * _WIDE_CELL)


def grid_lines(grid: Grid, graph: Graph, marks: Marks, columns: int, height: int, *, plain: bool) -> list[Line]:
    """The part of the grid around the cursor that fits into `columns` and `height`, and a legend."""
    wide = columns >= size_of(grid).wide
    cell = _WIDE_CELL if wide else _cell_width(grid)
    at = marks.cursor
    n = max(1, (columns - _LABEL) // cell)
    positions = _around(grid.positions, None if at is None else at.pos, n)
    tokens = [token_text(_token(graph.prompt, pos)) for pos in positions]
    head = [line(Span(" " * _LABEL), *(Span(f"{pos:>{cell}}", "dim") for pos in positions))]
    if wide:
        head.append(line(Span(" " * _LABEL), *(Span(" " + fit(t, cell - 1), "token") for t in tokens)))
    foot = [line(Span(x, "dim")) for x in _legend(wide=wide)]
    layers = _around(grid.layers, None if at is None else at.layer, max(1, height - len(head) - len(foot)))
    rows = [_row(grid, graph, layer, positions, marks, cell, plain=plain) for layer in layers]
    more = ((len(grid.positions) - len(positions), "positions"), (len(grid.layers) - len(layers), "layers"))
    if left := " and ".join(f"{n} {what}" for n, what in more if n):
        foot = [line(Span(f"{left} not shown", "dim")), *foot[1:]]
    return [clip(x, columns) for x in (*head, *rows, *foot)]


def _row(
    grid: Grid, graph: Graph, layer: int, positions: Sequence[int], marks: Marks, cell: int, *, plain: bool
) -> Line:
    name = {-1: "emb", graph.n_layers: "out"}.get(layer, f"L{layer}")
    spans = [Span(f"{name[:_LABEL]:<{_LABEL}}", "dim")]
    for pos in positions:
        place = Place(layer, pos)
        mark = ">" if place == marks.cursor else "*" if place in marks.path else " "
        here = grid.cells.get(place)
        text, style = ("", "") if here is None else (_text(here, cell), _style(here, grid, plain=plain))
        spans += [Span(" " * (cell - 1 - len(text))), Span(mark, "cursor"), Span(text, style)]
    return tuple(s for s in spans if s.text)


def _text(cell: Cell, width: int) -> str:
    if width == _WIDE_CELL:
        return f"{cell.n}" if cell.score is None else f"{cell.n} {number(cell.score, 2)}"[: width - 1]
    return f"{cell.n}{_sign(cell)}"


def _sign(cell: Cell) -> str:
    return " " if not cell.score else "+" if cell.score > 0 else "-"


def _style(cell: Cell, grid: Grid, *, plain: bool) -> str:
    if not cell.score or not grid.largest:
        return ""
    if plain:
        return "plus" if cell.score > 0 else "minus"
    level = max(1, round(strength(abs(cell.score) / grid.largest) * LEVELS))
    return f"{'+' if cell.score > 0 else '-'}{level}"


def _legend(*, wide: bool) -> list[str]:
    what = "nodes, sum of scores" if wide else "nodes, sign of scores"
    return [what, "> cursor  * its path"]


def _cell_width(grid: Grid) -> int:
    return 2 + len(str(max((c.n for c in grid.cells.values()), default=0)))


def _around(values: Sequence[int], at: int | None, n: int) -> Sequence[int]:
    """At most `n` values with `at` among them."""
    i = values.index(at) if at in values else 0
    start = max(0, min(i - n // 2, len(values) - n))
    return values[start : start + n]


def _token(prompt: Prompt, pos: int) -> str:
    return prompt.tokens[pos] if 0 <= pos < len(prompt.tokens) else ""
