"""The signed incoming and outgoing edges of a node, with what each was predicted and measured to do, and the rest."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from neuron_signatures.runs.circuits.graph import Edge, Graph, HeadShare, Node
from neuron_signatures.views.circuit.shown import edge_strengths


class ListedEdge(NamedTuple):
    """One edge of a node."""

    other: Node
    """The node at the other end."""
    weight: float
    """Predicted by the half rule: direct, norms' scales and attention patterns constant."""
    total: float | None
    """Plain gradient, through everything between the two."""
    measured: float | None
    """By a forward pass with the source at its reference."""
    strength: float
    """|weight| as a share of Σ|E| into the edge's target."""
    heads: tuple[HeadShare, ...] = ()
    """The attention heads that it passes through, strongest first; empty if they are not stored."""


@dataclass(frozen=True)
class NodeLists:
    """The edges of a node, strongest first. Numbers that are not defined are None."""

    node: Node
    incoming: tuple[ListedEdge, ...]
    outgoing: tuple[ListedEdge, ...]
    incoming_sum: float
    """Signed sum of the incoming list."""
    missing: float | None
    """What the incoming list leaves of the node's activation (of the target's value): the edges that pruning removed,
    with their signs. With rest nodes and constant in the graph, all incoming edges sum to the activation."""
    missing_abs: float | None
    """Σ|E| of the sources, other than rest and constant, that are not nodes of the circuit."""
    cancellation: float | None
    """Σ|E| / |activation|: how much larger what comes in is than what is left of it. None for an activation of 0."""


class CircuitIndex:
    """A graph by node, for many look-ups."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = {node.id: node for node in graph.nodes}
        self._strength = edge_strengths(graph)
        self._into: dict[str, list[int]] = defaultdict(list)
        self._out_of: dict[str, list[int]] = defaultdict(list)
        for i, e in enumerate(graph.edges):
            self._into[e.target].append(i)
            self._out_of[e.source].append(i)
        self._heads: dict[tuple[str, str], list[HeadShare]] = defaultdict(list)
        for head in graph.heads:
            self._heads[head.source, head.target].append(head)

    def lists(self, node_id: str) -> NodeLists | None:
        """The lists of a node over all edges of the graph, whatever is shown; None if there is no such node."""
        node = self.nodes.get(node_id)
        if node is None:
            return None
        incoming = self._listed(self._into[node_id], incoming=True)
        total = sum(e.weight for e in incoming)
        a, all_abs, shown = node.activation, node.incoming_abs, node.shown_abs
        return NodeLists(
            node, incoming, self._listed(self._out_of[node_id], incoming=False), total,
            None if a is None or all_abs is None else a - total,
            None if all_abs is None or shown is None else max(0.0, all_abs - shown),
            None if not a or all_abs is None else all_abs / abs(a),
        )  # fmt: skip

    def edge(self, source: str, target: str) -> Edge | None:
        """The edge between two nodes."""
        return next((e for e in map(self.graph.edges.__getitem__, self._out_of[source]) if e.target == target), None)

    def _listed(self, at: list[int], *, incoming: bool) -> tuple[ListedEdge, ...]:
        found = []
        for i in at:
            e = self.graph.edges[i]
            heads = sorted(self._heads[e.source, e.target], key=lambda h: (-abs(h.weight), h.layer, h.head))
            other = self.nodes[e.source if incoming else e.target]
            found.append(ListedEdge(other, e.weight, e.total, e.measured, self._strength[i], tuple(heads)))
        return tuple(sorted(found, key=lambda e: (-abs(e.weight), e.other.id)))
