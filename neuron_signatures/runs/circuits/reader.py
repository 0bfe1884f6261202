"""Reads circuits from a run, without torch and pandas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from neuron_signatures.runs.circuits.folder import EDGES, HEADS, NODES, TRACE, circuit_folder
from neuron_signatures.runs.circuits.graph import Edge, Graph, HeadShare, Node, Prompt
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.stage_results import AGAIN, ResultRecord


@dataclass(frozen=True)
class StoredCircuit:
    """A circuit and its stage record, whose `facts` have `prompt`, `n_layers` and the figures of the trace."""

    name: str
    graph: Graph
    record: ResultRecord


def read_circuit(run_dir: Path, name: str) -> StoredCircuit:
    """The circuit of this name. Raises `UsageError` if it has not been made, `BadRunError` if it is damaged."""
    folder = circuit_folder(name)
    record = folder.read_record(run_dir, TRACE)
    tables = [folder.read_rows(run_dir, stem) for stem in (NODES, EDGES, HEADS)]
    where = str(run_dir / folder.folder)
    prompt = prompt_of(record, run_dir / folder.folder)
    try:
        nodes = TypeAdapter(tuple[Node, ...]).validate_python([_node(row) for row in tables[0]])
        edges = TypeAdapter(tuple[Edge, ...]).validate_python(tables[1])
        heads = TypeAdapter(tuple[HeadShare, ...]).validate_python(tables[2])
        graph = Graph(prompt, int(record.facts["n_layers"]), nodes, edges, heads)
    except (ValidationError, KeyError, ValueError, TypeError) as e:
        raise BadRunError("its tables do not hold a circuit", where=where, next_step=AGAIN) from e
    ids = {node.id for node in nodes}
    if len(ids) < len(nodes) or any(e.source not in ids or e.target not in ids for e in edges):
        raise BadRunError("ids of nodes are not unique, or edges have no nodes", where=where, next_step=AGAIN)
    return StoredCircuit(name, graph, record)


def prompt_of(record: ResultRecord, where: Path) -> Prompt:
    """The prediction of a circuit, from its record alone. Raises `BadRunError` if it has none."""
    try:
        return TypeAdapter(Prompt).validate_python(record.facts["prompt"])
    except (ValidationError, KeyError) as e:
        raise BadRunError("its record has no prompt", where=str(where), next_step=AGAIN) from e


def _node(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "label": row["label"] or "", "promotes": tuple(json.loads(row["promotes"] or "[]"))}
