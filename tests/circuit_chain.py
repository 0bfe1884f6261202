"""A small circuit whose paths are visible: e -> a -> b -> t, a -> t, and e -> c -> t."""

from __future__ import annotations

from typing import NamedTuple

from neuron_signatures.runs.circuits.graph import Edge, Graph, Node, Prompt


class Named(NamedTuple):
    id: str
    label: str
    nodes: tuple[str, ...]


PROMPT = Prompt("p", "a b", (1, 2), ("a", " b"), 1, 9, " c", 0.5, value=2.0)


def neuron(id: str, layer: int, influence: float | None, pos: int = 0) -> Node:
    return Node(id, "neuron", layer, pos, 0, influence=influence, incoming_abs=4.0, activation=1.0)


def chain(*edges: tuple[str, str, float, float]) -> Graph:
    """Neurons a, b, c of layers 0, 1, 2, an embedding e, and the target t; edges with weight and share."""
    nodes = (Node("e", "embedding", -1, 0, influence=0.9), neuron("a", 0, 0.3), neuron("b", 1, 0.6),
             neuron("c", 2, 0.95), Node("t", "target", 3, 1, incoming_abs=5.0))  # fmt: skip
    return Graph(PROMPT, 3, nodes, tuple(Edge(s, t, w, share=share) for s, t, w, share in edges))


CHAIN = chain(("e", "a", 1.0, 0.5), ("a", "b", -2.0, 0.6), ("b", "t", 3.0, 0.2), ("a", "t", 0.5, 0.99),
              ("e", "c", 0.25, 0.97), ("c", "t", -0.125, 0.98))  # fmt: skip
