"""The edges of a circuit in a file of bounded size."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from neuron_signatures.runs.circuits.exchange.file_text import finite, graph_text, part_text
from neuron_signatures.runs.circuits.exchange.schema import EdgeHeads, GraphFile, Link
from neuron_signatures.runs.circuits.graph import Edge, Graph
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import human_bytes

log = logging.getLogger(__name__)

_PER_LINK: Final = 2  # comma and line break
_ROOM: Final = 200  # for the number of dropped links


class _Ends(NamedTuple):
    source: str
    target: str


def with_edges(file: GraphFile, graph: Graph, max_bytes: int) -> GraphFile:
    """The file of the nodes with the edges and heads of the graph, or as many of the strongest edges as fit.

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
    sizes = {_ends(link): len(part_text(link)) + _PER_LINK for link in links}
    for one in heads:
        sizes[_ends(one)] += len(part_text(one)) + _PER_LINK
    return _keep(file, links, heads, _strongest(graph.edges, sizes, room))


def _link(edge: Edge) -> Link:
    total, measured, share = map(finite, (edge.total, edge.measured, edge.share))
    return Link(
        source=edge.source, target=edge.target, weight=edge.weight, total=total, measured=measured, share=share
    )  # fmt: skip


def _strongest(edges: Sequence[Edge], sizes: Mapping[_Ends, int], room: int) -> set[_Ends]:
    """The ends of the strongest edges that fit: by share of the influence, and where it is unknown by |weight|."""
    order = [_ends(e) for e in sorted(edges, key=lambda e: (e.share is None, e.share or 0.0, -abs(e.weight)))]
    total = itertools.accumulate(sizes[ends] for ends in order)
    return {ends for ends, size in zip(order, total, strict=True) if size <= room}


def _keep(file: GraphFile, links: list[Link], heads: list[EdgeHeads], kept: set[_Ends]) -> GraphFile:
    dropped = len(links) - len(kept)
    assert file.neuron_signatures is not None
    own = file.neuron_signatures.model_copy(
        update={"heads": [h for h in heads if _ends(h) in kept], "dropped_links": dropped}
    )
    links_kept = [link for link in links if _ends(link) in kept]
    file = file.model_copy(update={"links": links_kept, "neuron_signatures": own})
    if not dropped:
        return file
    log.warning("the %d weakest of %d edges are left out, so that the file stays small", dropped, len(links))
    said = f"{dropped:,} of the weakest edges are not in this file. {file.metadata.info.description}".strip()
    info = file.metadata.info.model_copy(update={"description": said})
    return file.model_copy(update={"metadata": file.metadata.model_copy(update={"info": info})})


def _ends(edge: Edge | Link | EdgeHeads) -> _Ends:
    return _Ends(edge.source, edge.target)
