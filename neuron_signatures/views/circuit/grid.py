"""A circuit by layer and position: how many nodes each cell has, and the sum of their scores."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from neuron_signatures.runs.circuits.graph import Graph, Node

_COUNTED = ("neuron", "embedding", "target")


class Place(NamedTuple):
    """A layer (-1: the embeddings, the number of layers: the target) and a position of the prompt."""

    layer: int
    pos: int


class Cell(NamedTuple):
    n: int
    """Neurons, embeddings and targets; rest nodes and the constant are not counted."""
    score: float | None
    """Sum of their scores; None if no node has one."""


@dataclass(frozen=True)
class Grid:
    """The cells that have nodes."""

    layers: tuple[int, ...]
    """With at least one node, from the target down to the embeddings."""
    positions: tuple[int, ...]
    """With at least one node, ascending."""
    cells: Mapping[Place, Cell]

    @property
    def largest(self) -> float:
        """The largest |score| of a cell, the full scale of colours."""
        return max((abs(c.score) for c in self.cells.values() if c.score is not None), default=0.0)


def grid_of(graph: Graph) -> Grid:
    """The nodes of a graph by layer and position."""
    nodes: dict[Place, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.kind in _COUNTED:
            nodes[place_of(node)].append(node)
    cells = {place: Cell(len(some), _sum(n.score for n in some)) for place, some in nodes.items()}
    layers = sorted({p.layer for p in cells}, reverse=True)
    return Grid(tuple(layers), tuple(sorted({p.pos for p in cells})), cells)


def place_of(node: Node) -> Place:
    return Place(node.layer, node.pos)


def _sum(scores: Iterable[float | None]) -> float | None:
    known = [s for s in scores if s is not None]
    return math.fsum(known) if known else None
