"""Reads attribution-graph JSON, of ours or of another generator. Its author is unknown, so everything is checked."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from neuron_signatures.runs.bounded_json import check_bounds
from neuron_signatures.runs.circuits.exchange.checking import check_graph
from neuron_signatures.runs.circuits.exchange.foreign import foreign_graph
from neuron_signatures.runs.circuits.exchange.schema import OWN_VERSION, GraphFile, GraphNode, OwnData
from neuron_signatures.runs.circuits.exchange.supernodes import from_supernodes, text_lists
from neuron_signatures.runs.circuits.graph import Edge, Graph, HeadShare, Node, Prompt
from neuron_signatures.runs.circuits.groups import GroupsFile
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_text_input, unique_keys
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.names import safe_id
from neuron_signatures.runs.plain import refuse_constant, strict

log = logging.getLogger(__name__)

MAX_BYTES: Final = 64 << 20
_Record = TypeVar("_Record", Node, Prompt)


class Imported(NamedTuple):
    graph: Graph
    groups: GroupsFile


@dataclass(frozen=True)
class ImportedCircuit:
    """What a stage stores of a file: the graph's tables, the groups, and the settings and facts of its record."""

    name: str
    """The file's own name, made safe for a folder."""
    graph: Graph
    groups: GroupsFile
    settings: dict[str, Any]
    facts: dict[str, Any]
    """Those of the file that are numbers, so that viewers can rely on the form of the others; `imported` has them, and
    who made the file."""


def import_graph(path: Path) -> Imported:
    """The graph and the groups in a file. Raises `UsageError` with the path and the field."""
    file = read_graph_file(path)
    return _converted(file, str(path))


def imported_circuit(path: Path) -> ImportedCircuit:
    """As `import_graph`, with what a stage record holds. Raises as it."""
    file = read_graph_file(path)
    graph, groups = _converted(file, str(path))
    own, about = file.neuron_signatures, file.metadata
    facts = {} if own is None else {k: v for k, v in own.facts.items() if k != "imported"}
    numbers = {k: v for k, v in facts.items() if v is None or isinstance(v, int | float)}
    origin = {
        "slug": about.slug, "scan": about.scan, "generator": about.info.generator.model_dump(exclude_none=True),
        "created_at_ms": about.info.create_time_ms, "pruning": about.pruning_settings.model_dump(),
        "facts": {k: v for k, v in facts.items() if k not in numbers},
    }  # fmt: skip
    known = {**numbers, "imported": origin, "prompt": asdict(graph.prompt), "n_layers": graph.n_layers}
    settings = {} if own is None else own.settings
    return ImportedCircuit(safe_id(about.slug or path.stem), graph, groups, strict(settings), strict(known))


def read_graph_file(path: Path) -> GraphFile:
    """The file as records, which may still contradict each other. Raises `UsageError`."""
    where = str(path)
    text = read_text_input(path, max_bytes=MAX_BYTES)
    try:
        check_bounds(text.encode())
        raw = json.loads(text, object_pairs_hook=unique_keys, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as e:
        raise UsageError(f"not valid JSON ({e})", where=where) from e
    try:
        return GraphFile.model_validate(raw)
    except ValidationError as e:
        next_step = "Give a file in the attribution-graph JSON; docs/circuits.md describes it"
        raise UsageError(first_error(e), where=where, next_step=next_step) from e


def _converted(file: GraphFile, where: str) -> Imported:
    _check_links(file, where)
    own = file.neuron_signatures
    if own is None:
        graph, exact = foreign_graph(file, where=where), None
    else:
        graph, exact = _own_graph(file, own, where), _own_groups(own, where)
    check_graph(graph, where=where)
    ids = {node.id for node in graph.nodes}
    graph = _renamed(graph, file, where)
    return Imported(graph, from_supernodes(file.qParams, exact, ids, where=where))


def _check_links(file: GraphFile, where: str) -> None:
    """Raise `UsageError` for an id that is used twice, a link without nodes, and two links of the same nodes."""
    ids = Counter(node.node_id for node in file.nodes)
    if twice := next((i for i, n in ids.items() if n > 1), None):
        raise UsageError(f"node_id {twice!a} is used twice", where=f"{where}, nodes")
    seen = set()
    for i, link in enumerate(file.links):
        for end, id_ in (("source", link.source), ("target", link.target)):
            if id_ not in ids:
                raise UsageError(f"there is no node {id_!a}", where=f"{where}, links.{i}.{end}")
        if (link.source, link.target) in seen:
            raise UsageError(
                f"there are two links from {link.source!a} to {link.target!a}", where=f"{where}, links.{i}"
            )
        seen.add((link.source, link.target))


def _own_graph(file: GraphFile, own: OwnData, where: str) -> Graph:
    if own.format_version != OWN_VERSION:
        what = f"neuron_signatures.format_version is {own.format_version}, this version reads {OWN_VERSION}"
        raise UsageError(what, where=where, next_step="Update the software that reads it")
    if own.dropped_links:
        log.warning("%d of the weakest edges were left out when this file was written", own.dropped_links)
    if own.dropped_heads:
        log.warning("the heads of %d edges were left out when this file was written", own.dropped_heads)
    prompt = _parsed(Prompt, own.prompt, f"{where}, neuron_signatures.prompt")
    nodes = tuple(_own_node(node, f"{where}, nodes.{i}") for i, node in enumerate(file.nodes))
    edges = tuple(Edge(**link.model_dump()) for link in file.links)
    heads = tuple(HeadShare(h.source, h.target, *share) for h in own.heads for share in h.heads)
    return Graph(prompt, own.n_layers, nodes, edges, heads)


def _own_node(node: GraphNode, where: str) -> Node:
    if node.neuron_signatures is None:
        raise UsageError("lacks its field neuron_signatures, which the file has", where=where)
    return _parsed(Node, {**node.neuron_signatures, "id": node.node_id}, f"{where}.neuron_signatures")


def _own_groups(own: OwnData, where: str) -> GroupsFile:
    try:
        return GroupsFile.model_validate(own.groups)
    except ValidationError as e:
        raise UsageError(first_error(e), where=f"{where}, neuron_signatures.groups") from e


def _parsed(kind: type[_Record], value: Mapping[str, Any], where: str) -> _Record:
    unknown = sorted(value.keys() - {f.name for f in fields(kind)})
    if unknown:
        raise UsageError(f"unknown field {unknown[0]!a}", where=where)
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as e:
        raise UsageError(first_error(e), where=where) from e


def _renamed(graph: Graph, file: GraphFile, where: str) -> Graph:
    """With the names that a person gave to features in a viewer: pairs of a feature's number and its name."""
    if not file.qParams.clerps:
        return graph
    pairs = [p for p in text_lists(file.qParams.clerps, where=f"{where}, qParams.clerps") if len(p) == 2]
    names = {number.rpartition("_")[2]: name for number, name in pairs if name}
    numbers = {node.node_id: str(node.feature) for node in file.nodes}
    nodes = tuple(
        replace(n, label=names[numbers[n.id]]) if n.kind == "neuron" and numbers[n.id] in names else n
        for n in graph.nodes
    )
    return replace(graph, nodes=nodes)
