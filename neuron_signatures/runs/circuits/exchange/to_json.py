"""Writes a circuit as attribution-graph JSON, which public viewers and `from_json` read."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, Final

from neuron_signatures.runs.circuits.exchange.edges import with_edges
from neuron_signatures.runs.circuits.exchange.file_text import finite, graph_text
from neuron_signatures.runs.circuits.exchange.schema import (
    EMBEDDING,
    ERROR,
    FEATURE,
    LOGIT,
    OWN_VERSION,
    SCHEMA_VERSION,
    Generator,
    GraphFile,
    GraphNode,
    Info,
    Metadata,
    OwnData,
    PruningSettings,
    QParams,
)
from neuron_signatures.runs.circuits.exchange.supernodes import to_supernodes
from neuron_signatures.runs.circuits.exchange.texts import cantor_pair, label_of, shown
from neuron_signatures.runs.circuits.graph import Graph, Node
from neuron_signatures.runs.circuits.groups import GroupsFile
from neuron_signatures.runs.files import write_text
from neuron_signatures.runs.names import safe_id
from neuron_signatures.runs.plain import strict

log = logging.getLogger(__name__)

MAX_BYTES: Final = 5_000_000
"""Larger files make public viewers slow; they are not written."""
FEATURES: Final = "features"
DISTRIBUTION: Final = "neuron-signatures"

_TYPES: Final = {"neuron": FEATURE, "embedding": EMBEDDING, "rest": ERROR, "constant": ERROR, "target": LOGIT}
_REST_FEATURE, _CONSTANT_FEATURE = -1, -2  # integers, which every viewer takes, and no feature's number


@dataclass(frozen=True)
class GraphSettings:
    """What a file says about a circuit besides its nodes and edges. Unknown numbers are None."""

    slug: str
    """Its name: a file name and a part of addresses."""
    model_name: str
    create_time_ms: int | None
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
    return with_edges(file, graph, max_bytes)


def write_graph_json(folder: Path, name: str, file: GraphFile) -> int:
    """Write the file whole or not at all; returns its size in bytes. Raises `EnvironmentProblem`."""
    text = graph_text(file)
    write_text(folder, name, text)
    return len(text.encode())


def scan_name(model_name: str) -> str:
    """The name under which the local viewer looks for examples: a folder of the export, and no published model's."""
    return f"./data/{FEATURES}/{safe_id(Path(model_name).name or 'model')}"


def _metadata(graph: Graph, settings: GraphSettings) -> Metadata:
    prompt, node_share, edge_share = graph.prompt, _number(settings.node_share), _number(settings.edge_share)
    return Metadata(
        slug=safe_id(settings.slug), scan=scan_name(settings.model_name),
        prompt_tokens=[shown(token) for token in prompt.tokens], prompt=_shown_prompt(prompt.text),
        schema_version=SCHEMA_VERSION, node_threshold=_threshold(graph, node_share),
        info=Info(
            description=shown(settings.description), generator=_generator(), create_time_ms=settings.create_time_ms
        ),
        generation_settings=_shown_settings(settings.settings),
        pruning_settings=PruningSettings(node_threshold=node_share, edge_threshold=edge_share),
    )  # fmt: skip


def _threshold(graph: Graph, node_share: float | None) -> float:
    """The slider's end and beginning: no node of the file has more, so that a viewer hides none before it is moved."""
    largest = max((n.influence for n in graph.nodes if n.influence is not None), default=0.0)
    return math.ceil(max(largest, node_share or 0.0) * 100 - 1e-9) / 100


def _number(value: Any) -> float | None:
    """None also for what no share is: the settings of an imported circuit can be anything."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 1 else None


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
        jsNodeId=js_id, clerp=label_of(node, graph), influence=finite(node.influence),
        activation=finite(node.activation), token_prob=(graph.prompt.target_probability or 0.0) if is_target else 0.0,
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
