"""Paths through a circuit from its tokens to the target, ranked by the influence that they carry.

The strength of a path is the product of |E| / Σ|E| over its edges, with Σ|E| over all sources of each node: the term of
that path in the influence by which circuits are pruned (Ameisen et al. 2025, "Circuit Tracing").
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Iterator
from typing import Final, NamedTuple

from neuron_signatures.views.circuit.labels import sign_of
from neuron_signatures.views.circuit.lists import CircuitIndex, ListedEdge
from neuron_signatures.views.circuit.tree import MAX_DEPTH, Path, targets_of

_MOST_STEPS: Final = 50_000
"""Partial paths that are looked at: an imported graph may have any number of paths."""


class RankedPath(NamedTuple):
    """A path, from the target down to an embedding or to the node that was asked for."""

    path: Path
    strength: float
    """0 to 1."""
    sign: int
    """+1 if the path raises the target function, -1 if it lowers it: the product of the signs of its edges and of its
    neurons' distances from the reference, since score_s = Σ E_st score_t / (a_t - ā_t)."""


def strongest_paths(index: CircuitIndex, n: int) -> list[RankedPath]:
    """The `n` strongest paths from embeddings over at least one neuron, the strongest first; fewer if the graph has no
    more, or if too many paths have to be looked at."""
    found = (p for p in _walk(index, once=False) if index.nodes[p.path[-1]].kind == "embedding" and len(p.path) > 2)
    return list(itertools.islice(found, n))


def strongest_path(index: CircuitIndex, node_id: str) -> Path | None:
    """The strongest path from a target down to a node; None if no edges lead there."""
    return next((p.path for p in _walk(index, once=True) if p.path[-1] == node_id), None)


def _walk(index: CircuitIndex, *, once: bool) -> Iterator[RankedPath]:
    """Paths from the targets down, in order of strength; with `once`, only the strongest one to each node."""
    order = itertools.count()
    queue = [(-1.0, next(order), RankedPath((t.id,), 1.0, 1)) for t in targets_of(index)]
    seen: set[str] = set()

    @functools.cache
    def into(node_id: str) -> tuple[ListedEdge, ...]:
        lists = index.lists(node_id)
        return lists.incoming if lists else ()

    for _ in range(_MOST_STEPS):
        if not queue:
            return
        found = heapq.heappop(queue)[2]
        last = found.path[-1]
        if once and last in seen:
            continue
        seen.add(last)
        yield found
        for edge in into(last) if len(found.path) <= MAX_DEPTH else ():
            if edge.weight and edge.other.id not in found.path:
                longer = _longer(index, found, edge)
                heapq.heappush(queue, (-longer.strength, next(order), longer))


def _longer(index: CircuitIndex, found: RankedPath, edge: ListedEdge) -> RankedPath:
    flips = (edge.weight < 0) != (sign_of(index.nodes[found.path[-1]]) == "-")
    sign = -found.sign if flips else found.sign
    return RankedPath((*found.path, edge.other.id), found.strength * edge.strength, sign)
