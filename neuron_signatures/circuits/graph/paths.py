"""The strongest path from each token to the target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from neuron_signatures.runs.circuits.graph import Edge, Graph, Node


class Path(NamedTuple):
    """From a token over neurons to the target. `effect`, in units of the target function: the product of the first
    edge with ∂ã_t/∂a_s of all that follow, so that the effects of all paths of a token sum to its relevance."""

    nodes: tuple[Node, ...]
    effect: float


class _Way(NamedTuple):
    """From a node to the target: ∂f/∂a over this path alone."""

    nodes: tuple[Node, ...]
    gain: float


def strongest_paths(graph: Graph) -> list[Path]:
    """For each token the path over at least one neuron that raises the target most; the strongest first.

    Tokens of which every path lowers the target have none.
    """
    nodes = {node.id: node for node in graph.nodes}
    into: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        into.setdefault(edge.target, []).append(edge)
    target = next(node for node in graph.nodes if node.kind == "target")
    neurons = sorted((n for n in graph.nodes if n.kind == "neuron"), key=lambda n: -n.layer)
    ways: dict[tuple[str, bool], _Way] = {(target.id, True): _Way((target,), 1.0)}
    found: dict[str, Path] = {}
    for child in [target, *neurons]:  # every neuron after all that it feeds
        for edge in into.get(child.id, ()):
            source = nodes[edge.source]
            for way in _both(ways, child):
                if source.kind == "neuron":
                    _keep_way(ways, source, edge, way)
                elif source.kind == "embedding" and child is not target:
                    path = Path((source, *way.nodes), edge.weight * way.gain)
                    if path.effect > max(0.0, found[source.id].effect if source.id in found else 0.0):
                        found[source.id] = path
    return sorted(found.values(), key=lambda path: -path.effect)


def _both(ways: Mapping[tuple[str, bool], _Way], node: Node) -> Iterator[_Way]:
    """The strongest way that raises the target with the node, and the strongest that lowers it."""
    return (ways[key] for key in ((node.id, True), (node.id, False)) if key in ways)


def _keep_way(ways: dict[tuple[str, bool], _Way], source: Node, edge: Edge, way: _Way) -> None:
    """Keep the way over this edge if it is the strongest of its sign."""
    change = (source.activation or 0.0) - (source.reference or 0.0)
    if not change:
        return
    gain = edge.weight / change * way.gain
    key = (source.id, gain > 0)
    if key not in ways or abs(gain) > abs(ways[key].gain):
        ways[key] = _Way((source, *way.nodes), gain)
