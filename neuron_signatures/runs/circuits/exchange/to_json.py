"""Writes a circuit as attribution-graph JSON, which public viewers and `from_json` read."""

from __future__ import annotations

import itertools
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, Final

from neuron_signatures.runs.circuits.exchange.schema import (
    EMBEDDING,
    ERROR,
    FEATURE,
    LOGIT,
    OWN_VERSION,
    SCHEMA_VERSION,
    EdgeHeads,
    Generator,
    GraphFile,
    GraphNode,
    Info,
    Link,
    Metadata,
    OwnData,
    PruningSettings,
    QParams,
)
from neuron_signatures.runs.circuits.exchange.supernodes import to_supernodes
from neuron_signatures.runs.circuits.exchange.texts import cantor_pair, label_of, shown
from neuron_signatures.runs.circuits.graph import Edge, Graph, Node
from neuron_signatures.runs.circuits.groups import GroupsFile
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import human_bytes, write_text
from neuron_signatures.runs.names import safe_id
from neuron_signatures.runs.plain import strict

log = logging.getLogger(__name__)

MAX_BYTES: Final = 5_000_000
"""Larger files make public viewers slow; they are not written."""
FEATURES: Final = "features"
DISTRIBUTION: Final = "neuron-signatures"

_PER_LINK: Final = 2  # comma and line break
_ROOM: Final = 200  # for the number of dropped links
_TYPES: Final = {"neuron": FEATURE, "embedding": EMBEDDING, "rest": ERROR, "constant": ERROR, "target": LOGIT}
_REST_FEATURE, _CONSTANT_FEATURE = -1, -2  # integers, which every viewer takes, and no feature's number


@dataclass(frozen=True)
class GraphSettings:
    """What a file says about a circuit besides its nodes and edges. Unknown numbers are None."""

    slug: str
    """Its name: a file name and a part of addresses."""
    model_name: str
    create_time_ms: int
    node_share: float | None = None
    """The share of the influence to which nodes were kept, as `--node_share`."""
    edge_share: float | None = None
    description: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the stage record, to be shown and to come back when the file is imported; as are `facts`."""
    facts: Mapping[str, Any] = field(default_factory=dict)


def graph_json(
    graph: Graph, groups: GroupsFile | None = None, *, settings: GraphSettings, max_bytes: int = MAX_BYTES
) -> GraphFile:  # fmt: skip
    """The circuit as a file of at most `max_bytes`. The weakest edges are left out of a larger one, with a warning,
    and their number is in the file. Raises `UsageError` if the nodes alone are too large."""
    groups = GroupsFile(pinned=groups.pinned, groups=groups.groups) if groups is not None else GroupsFile()
    target = next((n.id for n in graph.nodes if n.kind == "target"), "")
    _warn_of_single_layer(graph)
    pinned, supernodes = to_supernodes(groups, [node.id for node in graph.nodes])
    file = GraphFile(
        metadata=_metadata(graph, settings),
        qParams=QParams(pinnedIds=pinned, supernodes=supernodes, clickedId=target),
        nodes=[_node(node, graph) for node in graph.nodes],
        links=[],
        neuron_signatures=OwnData(
            format_version=OWN_VERSION, n_layers=graph.n_layers, prompt=strict(graph.prompt),
            groups=groups.model_dump(mode="json", exclude_none=True), settings=strict(settings.settings),
            facts=strict(settings.facts),
        ),
    )  # fmt: skip
    return _with_edges(file, graph, max_bytes)


def graph_text(file: GraphFile) -> str:
    """Strict JSON, with one node or link per line."""
    parts = {
        "metadata": _text(_dump(file.metadata)),
        "qParams": _text(_dump(file.qParams)),
        "neuron_signatures": "null" if file.neuron_signatures is None else _text(_dump(file.neuron_signatures)),
        "nodes": _lines(_node_text(node) for node in file.nodes),
        "links": _lines(_text(_dump(link)) for link in file.links),
    }
    return "{\n" + ",\n".join(f'"{key}": {text}' for key, text in parts.items()) + "\n}\n"


def write_graph_json(folder: Path, name: str, file: GraphFile) -> int:
    """Write the file whole or not at all; returns its size in bytes. Raises `EnvironmentProblem`."""
    text = graph_text(file)
    write_text(folder, name, text)
    return len(text.encode())


def scan_name(model_name: str) -> str:
    """The name under which the local viewer looks for examples: a folder of the export, and no published model's."""
    return f"./data/{FEATURES}/{safe_id(Path(model_name).name or 'model')}"


def _metadata(graph: Graph, settings: GraphSettings) -> Metadata:
    prompt = graph.prompt
    return Metadata(
        slug=safe_id(settings.slug), scan=scan_name(settings.model_name),
        prompt_tokens=[shown(token) for token in prompt.tokens], prompt=_shown_prompt(prompt.text),
        schema_version=SCHEMA_VERSION, node_threshold=_threshold(graph, settings.node_share),
        info=Info(
            description=shown(settings.description), generator=_generator(), create_time_ms=settings.create_time_ms
        ),
        generation_settings=_shown_settings(settings.settings),
        pruning_settings=PruningSettings(node_threshold=settings.node_share, edge_threshold=settings.edge_share),
    )  # fmt: skip


def _threshold(graph: Graph, node_share: float | None) -> float:
    """The slider's end and beginning: no node of the file has more, so that a viewer hides none before it is moved."""
    largest = max((n.influence for n in graph.nodes if n.influence is not None), default=0.0)
    return math.ceil(max(largest, node_share or 0.0) * 100 - 1e-9) / 100


def _generator() -> Generator:
    """Of the installed package: its name, version and, if it states one, address."""
    try:
        about = metadata(DISTRIBUTION)
    except PackageNotFoundError:
        return Generator(name=DISTRIBUTION)
    urls = [line.partition(",")[2].strip() for line in about.get_all("Project-URL") or []]
    return Generator(name=DISTRIBUTION, version=about["Version"], url=next(iter(urls), None))


def _node(node: Node, graph: Graph) -> GraphNode:
    feature, js_id, layer = _numbers(node, graph)
    is_target = node.kind == "target"
    return GraphNode(
        node_id=node.id, feature=feature, layer=layer, ctx_idx=max(node.pos, 0), feature_type=_TYPES[node.kind],
        jsNodeId=js_id, clerp=label_of(node, graph), influence=_finite(node.influence),
        activation=_finite(node.activation), token_prob=graph.prompt.target_probability if is_target else 0.0,
        is_target_logit=is_target, neuron_signatures=_own_fields(node),
    )  # fmt: skip


def _numbers(node: Node, graph: Graph) -> tuple[int, str, str]:
    """`feature`, `jsNodeId` and `layer`. The constant is drawn in the row of the embeddings, at the first position."""
    match node.kind:
        case "neuron":
            assert node.neuron is not None
            feature = cantor_pair(node.layer, node.neuron)
            return feature, f"{node.layer}_{node.neuron}-0", str(node.layer)
        case "embedding":
            return node.pos, f"E_{node.token_id}-{node.pos}", "E"
        case "rest":
            return _REST_FEATURE, f"{node.id}-0", str(node.layer)
        case "constant":
            return _CONSTANT_FEATURE, f"{node.id}-0", "E"
        case "target":
            return node.token_id or 0, f"L_{node.token_id}-{node.pos}", str(graph.n_layers + 1)


def _own_fields(node: Node) -> dict[str, Any]:
    """All fields with a value other than the default, but the id."""
    values = {f.name: getattr(node, f.name) for f in fields(node) if f.name != "id"}
    return {k: strict(v) for k, v in values.items() if v is not None and v not in ("", ())}


def _link(edge: Edge) -> Link:
    total, measured, share = map(_finite, (edge.total, edge.measured, edge.share))
    return Link(
        source=edge.source, target=edge.target, weight=edge.weight, total=total, measured=measured, share=share
    )  # fmt: skip


def _with_edges(file: GraphFile, graph: Graph, max_bytes: int) -> GraphFile:
    links = [_link(edge) for edge in graph.edges]
    by_edge = [(key, list(group)) for key, group in itertools.groupby(graph.heads, key=lambda h: (h.source, h.target))]
    heads = [
        EdgeHeads(source=s, target=t, heads=[(h.layer, h.head, h.weight) for h in group]) for (s, t), group in by_edge
    ]
    sizes = {(e.source, e.target): 0 for e in graph.edges}
    for one in heads:
        sizes[one.source, one.target] = sizes.get((one.source, one.target), 0) + len(_text(_dump(one))) + _PER_LINK
    for link in links:
        sizes[link.source, link.target] += len(_text(_dump(link))) + _PER_LINK
    room = max_bytes - _ROOM - len(graph_text(file).encode())
    if room < 0:
        what = f"the nodes alone take {human_bytes(max_bytes - room)}, and the file may have {human_bytes(max_bytes)}"
        raise UsageError(what, where=file.metadata.slug, next_step="Trace with a smaller --max_nodes")
    kept = _strongest(graph.edges, sizes, room)
    return _keep(file, links, heads, kept)


def _strongest(edges: Sequence[Edge], sizes: Mapping[tuple[str, str], int], room: int) -> set[tuple[str, str]]:
    """The ends of the strongest edges that fit: by share of the influence, and where it is unknown by |weight|."""
    order = sorted(edges, key=lambda e: (e.share is None, e.share or 0.0, -abs(e.weight)))
    ends = [(e.source, e.target) for e in order]
    total = itertools.accumulate(sizes[end] for end in ends)
    return {end for end, size in zip(ends, total, strict=True) if size <= room}


def _keep(file: GraphFile, links: list[Link], heads: list[EdgeHeads], kept: set[tuple[str, str]]) -> GraphFile:
    dropped = len(links) - len(kept)
    links = [link for link in links if (link.source, link.target) in kept]
    assert file.neuron_signatures is not None
    own = file.neuron_signatures.model_copy(
        update={"heads": [h for h in heads if (h.source, h.target) in kept], "dropped_links": dropped}
    )
    if not dropped:
        return file.model_copy(update={"links": links, "neuron_signatures": own})
    log.warning("the %d weakest of %d edges are left out, so that the file stays small", dropped, len(links) + dropped)
    said = f"{dropped:,} of the weakest edges are not in this file. {file.metadata.info.description}".strip()
    info = file.metadata.info.model_copy(update={"description": said})
    metadata_ = file.metadata.model_copy(update={"info": info})
    return file.model_copy(update={"metadata": metadata_, "links": links, "neuron_signatures": own})


def _warn_of_single_layer(graph: Graph) -> None:
    if max((n.layer for n in graph.nodes if n.kind in ("neuron", "rest")), default=0) <= 0:
        log.warning("no node is above layer 0, and some public viewers cannot draw such a graph")


def _shown_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one value each, which viewers list."""
    plain = strict(settings)
    return {shown(k): shown(v) if isinstance(v, str) else v for k, v in plain.items() if not isinstance(v, dict | list)}


def _shown_prompt(text: str) -> str:
    """As `shown`, of any length."""
    return "".join(shown(text[i : i + 256]) for i in range(0, len(text), 256))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _dump(part: Any) -> dict[str, Any]:
    found: dict[str, Any] = part.model_dump(mode="json", exclude_none=True)
    return found


def _node_text(node: GraphNode) -> str:
    """With `influence` and `activation`, also where they are null."""
    return _text({**_dump(node), "influence": node.influence, "activation": node.activation})


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _lines(texts: Iterable[str]) -> str:
    return "[\n" + ",\n".join(texts) + "\n]"
