"""The edges of a circuit in a file of bounded size."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from neuron_signatures.runs.circuits.exchange.file_text import finite, graph_text, part_text
from neuron_signatures.runs.circuits.exchange.schema import EdgeHeads, GraphFile, Link
from neuron_signatures.runs.circuits.graph import Edge, Graph
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import human_bytes

log = logging.getLogger(__name__)

_PER_PART: Final = 2  # comma and line break
_ROOM: Final = 200  # for the numbers of what is dropped


_Row = TypeVar("_Row", Link, EdgeHeads)


class _Ends(NamedTuple):
    source: str
    target: str


def with_edges(file: GraphFile, graph: Graph, max_bytes: int) -> GraphFile:
    """The file of the nodes with the edges of the graph, or as many of the strongest as fit, and then with the heads
    of as many edges as fit, from the strongest on.

    Raises `UsageError` if the nodes alone are too large.
    """
    links = [_link(edge) for edge in graph.edges]
    heads = [
        EdgeHeads(source=ends.source, target=ends.target, heads=[(h.layer, h.head, h.weight) for h in found])
        for ends, found in itertools.groupby(graph.heads, key=lambda h: _Ends(h.source, h.target))
    ]
    room = max_bytes - _ROOM - len(graph_text(file).encode())
    if room < 0:
        what = f"the nodes alone take {human_bytes(max_bytes - room)}, and the file may have {human_bytes(max_bytes)}"
        raise UsageError(what, where=file.metadata.slug, next_step="Trace with a smaller --max_nodes")
    order = _by_strength(graph.edges)
    fits = _fitting(links, order, room)
    left = room - sum(map(_size, fits))
    return _keep(file, links, heads, {_ends(e) for e in fits}, {_ends(h) for h in _fitting(heads, order, left)})


def _link(edge: Edge) -> Link:
    total, measured, share, heads = map(finite, (edge.total, edge.measured, edge.share, edge.other_heads))
    return Link(
        source=edge.source, target=edge.target, weight=edge.weight, total=total, measured=measured, share=share,
        other_heads=heads,
    )  # fmt: skip


def _by_strength(edges: Iterable[Edge]) -> dict[_Ends, int]:
    """Ranks: by share of the influence, and where it is unknown by |weight|."""
    ranked = sorted(edges, key=lambda e: (e.share is None, e.share or 0.0, -abs(e.weight)))
    return {_ends(edge): i for i, edge in enumerate(ranked)}


def _fitting(parts: Sequence[_Row], order: Mapping[_Ends, int], room: int) -> list[_Row]:
    """The parts of the strongest edges, as many as fit."""
    ranked = sorted(parts, key=lambda part: order[_ends(part)])
    total = itertools.accumulate(map(_size, ranked))
    return [part for part, size in zip(ranked, total, strict=True) if size <= room]


def _size(part: Link | EdgeHeads) -> int:
    return len(part_text(part)) + _PER_PART


def _keep(
    file: GraphFile, links: list[Link], heads: list[EdgeHeads], with_link: set[_Ends], with_heads: set[_Ends]
) -> GraphFile:  # fmt: skip
    """The file with these links and heads, in their order, and with what it lacks."""
    kept = [link for link in links if _ends(link) in with_link]
    kept_heads = [h for h in heads if _ends(h) in with_heads & with_link]
    n_links, n_heads = len(links) - len(kept), len(heads) - len(kept_heads)
    assert file.neuron_signatures is not None
    own = file.neuron_signatures.model_copy(
        update={"heads": kept_heads, "dropped_links": n_links, "dropped_heads": n_heads}
    )
    file = file.model_copy(update={"links": kept, "neuron_signatures": own})
    if n_heads:
        log.warning("the heads of the %d weakest of %d edges are left out, so that the file stays small", n_heads,
                    len(heads))  # fmt: skip
    if not n_links:
        return file
    log.warning("the %d weakest of %d edges are left out, so that the file stays small", n_links, len(links))
    said = f"{n_links:,} of the weakest edges are not in this file. {file.metadata.info.description}".strip()
    info = file.metadata.info.model_copy(update={"description": said})
    return file.model_copy(update={"metadata": file.metadata.model_copy(update={"info": info})})


def _ends(edge: Edge | Link | EdgeHeads) -> _Ends:
    return _Ends(edge.source, edge.target)
