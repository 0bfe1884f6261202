"""A circuit as a tree from the target downwards: of each node its strongest sources, and what completes its value."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from neuron_signatures.runs.circuits.graph import Node
from neuron_signatures.views.circuit.lists import CircuitIndex, ListedEdge, NodeLists

LineKind = Literal["source", "hidden", "rest", "constant", "pruned"]
"""`source`: one edge. `hidden`: the weaker edges from neurons and embeddings. `rest` and `constant`: those from such
nodes. `pruned`: what remains of the value, the sum of all edges that the pruning dropped."""
Path = tuple[str, ...]
"""Ids from the target down to a node. The row of several edges ends in the name of its kind, in brackets."""
MAX_DEPTH: Final = 200
"""Rows below the target. The edges of a trace come from earlier layers; those of an imported graph may not."""
_ROUNDING: Final = 1e-6
"""Share of Σ|E| below which a remainder is rounding."""


class TreeLine(NamedTuple):
    """One line of a node: an edge, or several with their sum."""

    kind: LineKind
    weight: float | None
    """E, or the sum; None if the value of the node is not known."""
    n: int
    """The number of edges; 0 for `pruned`, whose edges are not stored."""
    share: float | None
    """Σ|E| of these edges over that of all sources of the node; None if it is not known."""
    edge: ListedEdge | None = None
    """If it is one edge."""

    @property
    def node(self) -> Node | None:
        """The source of one edge."""
        return None if self.edge is None else self.edge.other


class TreeRow(NamedTuple):
    """A visible row of the tree."""

    path: Path
    line: TreeLine | None
    """None for a target."""
    node: Node | None
    """The target, or the source of one edge."""
    into: Node | None
    """The node whose line it is; None for a target."""
    is_open: bool
    can_open: bool

    @property
    def depth(self) -> int:
        return len(self.path) - 1


def targets_of(index: CircuitIndex) -> list[Node]:
    """The targets; an imported graph may have several, or none."""
    return [node for node in index.graph.nodes if node.kind == "target"]


def lines_of(index: CircuitIndex, node_id: str, most: int | None) -> list[TreeLine]:
    """The lines of a node, whose weights sum to its value: the `most` strongest sources (None: all), the others
    together, the rest nodes, the constant, and what the pruning dropped. Empty for nodes without incoming edges."""
    found = index.lists(node_id)
    if found is None or found.node.kind not in ("neuron", "target"):
        return []
    sources = [e for e in found.incoming if e.other.kind in ("neuron", "embedding", "target")]
    shown = sources if most is None else sources[:most]
    lines = [TreeLine("source", e.weight, 1, e.strength, e) for e in shown]
    kinds: tuple[tuple[LineKind, Sequence[ListedEdge]], ...] = (
        ("hidden", sources[len(shown) :]),
        ("rest", [e for e in found.incoming if e.other.kind == "rest"]),
        ("constant", [e for e in found.incoming if e.other.kind == "constant"]),
    )
    lines += [TreeLine(kind, math.fsum(e.weight for e in some), len(some), math.fsum(e.strength for e in some))
              for kind, some in kinds if some]  # fmt: skip
    pruned = _pruned(found)
    return [*lines, pruned] if pruned is not None else lines


def tree_rows(
    index: CircuitIndex, opened: Collection[Path], whole: Collection[Path] = (), *, most: int
) -> list[TreeRow]:
    """The rows of the targets, and below each `opened` row its lines: `most` sources, of the `whole` rows all."""
    found: list[TreeRow] = []
    for target in targets_of(index):
        found += _with_below(index, (target.id,), None, target, None, opened, whole, most)
    return found


def to_depth(index: CircuitIndex, depth: int, most: int) -> set[Path]:
    """The rows to open so that the tree has this many levels below the targets."""
    found: set[Path] = set()
    now: list[Path] = [(t.id,) for t in targets_of(index)]
    for _ in range(depth):
        found |= set(now)
        now = [(*path, line.node.id) for path in now for line in lines_of(index, path[-1], most)
               if line.node is not None and line.node.kind == "neuron" and line.node.id not in path]  # fmt: skip
    return found


def _with_below(
    index: CircuitIndex, path: Path, line: TreeLine | None, node: Node | None, into: Node | None,
    opened: Collection[Path], whole: Collection[Path], most: int,
) -> Iterator[TreeRow]:  # fmt: skip
    """A row, and the rows below it if it is open."""
    kind = "source" if line is None else line.kind
    can_open = kind in ("hidden", "rest") or (node is not None and _has_lines(index, node, path))
    is_open = can_open and path in opened
    yield TreeRow(path, line, node, into, is_open, can_open)
    if not is_open:
        return
    if kind == "rest" and into is not None:
        found = index.lists(into.id)
        for e in found.incoming if found else ():
            if e.other.kind == "rest":
                below = TreeLine("source", e.weight, 1, e.strength, e)
                yield TreeRow((*path, e.other.id), below, e.other, into, is_open=False, can_open=False)
    elif node is not None:
        for below in lines_of(index, node.id, None if path in whole else most):
            name = f"({below.kind})" if below.node is None else below.node.id
            yield from _with_below(index, (*path, name), below, below.node, node, opened, whole, most)


def _has_lines(index: CircuitIndex, node: Node, path: Path) -> bool:
    """Whether a row can be opened: not if its node is above it already, as in an imported graph with a cycle."""
    return len(path) <= MAX_DEPTH and node.id not in path[:-1] and bool(lines_of(index, node.id, 0))


def _pruned(found: NodeLists) -> TreeLine | None:
    """What the stored edges leave of the value; None if that is rounding, unknown if the value is."""
    node, stored = found.node, math.fsum(e.strength for e in found.incoming)
    all_abs = node.incoming_abs
    known = None if not all_abs or node.shown_abs is None or node.rest_abs is None else node.shown_abs + node.rest_abs
    share = None if known is None or not all_abs else max(0.0, known / all_abs - stored)
    if node.activation is None:
        return TreeLine("pruned", None, 0, share) if found.incoming else None
    left = node.activation - math.fsum(e.weight for e in found.incoming)
    scale = max(all_abs or 0.0, math.fsum(abs(e.weight) for e in found.incoming), abs(node.activation))
    return None if abs(left) <= _ROUNDING * scale else TreeLine("pruned", left, 0, share)
