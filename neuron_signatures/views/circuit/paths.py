"""Paths through a circuit: the strongest ones from its tokens to the target, and one to show a node in the tree."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from typing import Final, NamedTuple

from neuron_signatures.runs.circuits.graph import Node
from neuron_signatures.views.circuit.lists import CircuitIndex
from neuron_signatures.views.circuit.tree import MAX_DEPTH, Path, targets_of


class RankedPath(NamedTuple):
    """A path from the target down to an embedding."""

    path: Path
    effect: float
    """In units of the target function: the product of the first edge with ∂ã_t/∂a_s of all that follow. The effects of
    all paths of a token in the whole model sum to its score."""


_MOST_WAYS: Final = 40
"""Ways from each node that are kept: at least as many as paths are asked for."""


def strongest_paths(index: CircuitIndex, n: int) -> list[RankedPath]:
    """The `n` paths from embeddings over at least one neuron with the largest |effect|; fewer if there are no more.

    Through neurons whose distance from their reference is not known, there is no effect, and so no path. At most
    `_MOST_WAYS` paths are found.
    """
    ways: dict[str, list[RankedPath]] = defaultdict(list)
    found: list[RankedPath] = []
    for target in targets_of(index):
        ways[target.id] = [RankedPath((target.id,), 1.0)]
    for node in _from_the_target(index):
        best = ways[node.id] = heapq.nlargest(_MOST_WAYS, ways[node.id], key=lambda w: abs(w.effect))
        lists = index.lists(node.id) if best else None
        for edge in lists.incoming if lists else ():
            moved = _change(edge.other)
            if edge.other.kind == "neuron" and moved:
                ways[edge.other.id] += [
                    RankedPath((*w.path, edge.other.id), w.effect * edge.weight / moved) for w in best
                ]
            elif edge.other.kind == "embedding":
                found += [RankedPath((*w.path, edge.other.id), w.effect * edge.weight) for w in best if len(w.path) > 1]
    return heapq.nlargest(n, found, key=lambda w: abs(w.effect))


def path_to(index: CircuitIndex, node_id: str) -> Path | None:
    """The path from a target down to a node with the largest product of shares of Σ|E|; None if no edges lead there."""
    order = itertools.count()
    queue: list[tuple[float, int, Path]] = [(-1.0, next(order), (t.id,)) for t in targets_of(index)]
    seen: set[str] = set()
    while queue:
        strength, _, path = heapq.heappop(queue)
        if path[-1] == node_id:
            return path
        lists = None if path[-1] in seen or len(path) > MAX_DEPTH else index.lists(path[-1])
        seen.add(path[-1])
        for edge in lists.incoming if lists else ():
            if edge.weight and edge.other.id not in seen:
                heapq.heappush(queue, (strength * edge.strength, next(order), (*path, edge.other.id)))
    return None


def _from_the_target(index: CircuitIndex) -> list[Node]:
    """Targets and neurons, each after all that it feeds. Those in or below a cycle, which only an imported graph can
    have, are left out."""
    left = Counter(e.source for e in index.graph.edges)
    ready = [node for node in index.graph.nodes if not left[node.id]]
    found: list[Node] = []
    while ready:
        node = ready.pop()
        found.append(node)
        lists = index.lists(node.id)
        for edge in lists.incoming if lists else ():
            left[edge.other.id] -= 1
            if not left[edge.other.id]:
                ready.append(edge.other)
    return [node for node in found if node.kind in ("neuron", "target")]


def _change(node: Node) -> float:
    """a - ā; 0 if it is not known."""
    return 0.0 if node.activation is None else node.activation - (node.reference or 0.0)
