"""The tables of a circuit: the tree, the nodes that match a filter, and the edges that leave a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from neuron_signatures.runs.circuits.graph import Node
from neuron_signatures.tui.circuit.names import node_spans, percent, row_spans
from neuron_signatures.tui.layout.bars import signed_bar
from neuron_signatures.tui.layout.text import Column, Line, RowTable, Span, line, number, sign_style
from neuron_signatures.views.circuit.lists import ListedEdge
from neuron_signatures.views.circuit.opened import OpenedCircuit
from neuron_signatures.views.circuit.tree import TreeRow

_DEEPEST = 12
"""Levels that are indented; deeper ones give their number."""
_TOTAL_FROM, _MEASURED_FROM, _SHARE_FROM, _WIDE = 64, 74, 84, 110
"""Columns of a screen from which a number is shown, and from which bars are wide."""


@dataclass
class TreeTable(RowTable[TreeRow]):
    """The visible rows of the tree. Bars have the scale of the strongest single edge into the same node."""

    opened: OpenedCircuit
    room: int = 100
    """Columns of the screen."""
    empty: str = "this graph has no target"
    _full: dict[tuple[str, ...], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            if row.line is not None and row.line.weight is not None and row.line.kind == "source":
                above = row.path[:-1]
                self._full[above] = max(self._full.get(above, 0.0), abs(row.line.weight))

    def columns(self) -> Sequence[Column]:
        """As many numbers as leave space for the names of nodes."""
        more = (
            (_TOTAL_FROM, Column("total", "total", 9, right=True)),
            (_MEASURED_FROM, Column("measured", "measured", 9, right=True)),
        )
        share = (Column("share", "of Σ|E|", 7, right=True),) if self.room >= _SHARE_FROM else ()
        return (
            Column("node", "node", 0, min_width=24), Column("weight", "direct E", 9, right=True),
            Column("bar", "", 17 if self.room >= _WIDE else 9, drop=1), *share,
            *(column for least, column in more if self.room >= least),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span | Line]:
        row = self.rows[i]
        mark = "▾ " if row.is_open else "▸ " if row.can_open else "  "
        depth = "  " * row.depth if row.depth <= _DEEPEST else "  " * (_DEEPEST - 2) + f"{row.depth:>3} "
        node = line(Span(depth, "dim"), Span(mark, "key"), *row_spans(self.opened, row))
        edge = row.line
        if edge is None:
            value = row.node.activation if row.node else None
            return {"node": node, "weight": Span(number(value, 3), "token"), "bar": Span("its value", "dim")}
        w = edge.weight
        full = self._full.get(row.path[:-1]) or abs(w or 0.0)
        bar = "" if w is None else signed_bar(w, full, widths.get("bar", 0))
        e = edge.edge
        return {
            "node": node, "weight": Span("unknown" if w is None else number(w, 3), sign_style(w)),
            "bar": Span(bar, sign_style(w)), "share": Span("" if edge.share is None else percent(edge.share)),
            "total": _number(e and e.total), "measured": _number(e and e.measured),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        row = self.rows[i]
        found: dict[str, Any] = {"path": list(row.path), "depth": row.depth}
        found |= {"kind": "target" if row.line is None else row.line.kind, "into": row.into and row.into.id}
        found["node"] = None if row.node is None else node_record(self.opened, row.node)
        if row.line is not None:
            found |= {"n_edges": row.line.n, "weight": row.line.weight, "share": row.line.share}
            found |= {} if row.line.edge is None else edge_record(row.line.edge)
        return found


@dataclass
class NodeTable(RowTable[Node]):
    """Nodes that match a filter, the largest |score| first."""

    opened: OpenedCircuit
    empty: str = "no node matches the filter; / changes it, Esc shows the tree"
    _full: float = 0.0

    def __post_init__(self) -> None:
        self._full = max((abs(n.score) for n in self.rows if n.score is not None), default=0.0)

    def columns(self) -> Sequence[Column]:
        return (
            Column("node", "node", 0, min_width=24), Column("score", "score", 9, right=True),
            Column("bar", "", 9, drop=1), Column("effect", "effect", 9, right=True, drop=2),
            Column("measured", "measured", 9, right=True, drop=3),
            Column("influence", "influence", 9, right=True, drop=4),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span | Line]:
        n = self.rows[i]
        bar = "" if n.score is None else signed_bar(n.score, self._full, widths.get("bar", 0))
        return {
            "node": node_spans(self.opened, n), "score": _number(n.score), "bar": Span(bar, sign_style(n.score)),
            "effect": _number(n.effect), "measured": _number(n.measured),
            "influence": Span("" if n.influence is None else percent(n.influence)),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        return node_record(self.opened, self.rows[i])


@dataclass
class OutgoingTable(RowTable[ListedEdge]):
    """Edges that leave a node, the strongest first."""

    opened: OpenedCircuit
    empty: str = "no edges leave this node"

    def columns(self) -> Sequence[Column]:
        return (
            Column("node", "into", 0, min_width=22), Column("weight", "direct E", 9, right=True),
            Column("share", "of Σ|E|", 7, right=True, drop=3), Column("total", "total", 9, right=True, drop=1),
            Column("measured", "measured", 9, right=True, drop=2),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span | Line]:
        e = self.rows[i]
        return {
            "node": node_spans(self.opened, e.other), "weight": Span(number(e.weight, 3), sign_style(e.weight)),
            "share": Span(percent(e.strength)), "total": _number(e.total), "measured": _number(e.measured),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        e = self.rows[i]
        return {"node": node_record(self.opened, e.other), "weight": e.weight, "share": e.strength, **edge_record(e)}


def node_record(opened: OpenedCircuit, node: Node) -> dict[str, Any]:
    """A node as stored, with its group and whether it is pinned."""
    group = opened.group_of.get(node.id)
    return {**asdict(node), "group": group and group.label, "pinned": node.id in opened.groups.pinned}


def edge_record(e: ListedEdge) -> dict[str, Any]:
    heads = [{"layer": h.layer, "head": h.head, "weight": h.weight} for h in e.heads]
    return {"total": e.total, "measured": e.measured, "heads": heads}


def _number(value: float | None) -> Span:
    return Span(number(value, 3), sign_style(value))
