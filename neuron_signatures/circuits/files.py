"""The files of a circuit that are not tables: the graph for public viewers, and the suggested groups."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from neuron_signatures.runs.circuits.exchange.file_text import graph_text
from neuron_signatures.runs.circuits.exchange.to_json import GraphSettings, graph_json
from neuron_signatures.runs.circuits.folder import GRAPH_FILE, SUGGESTED_GROUPS
from neuron_signatures.runs.circuits.graph import Graph
from neuron_signatures.runs.circuits.groups import GroupsFile, groups_text
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.runs.run import Run


class Described(NamedTuple):
    """A circuit with its suggested groups, and what its record says."""

    name: str
    graph: Graph
    groups: GroupsFile
    settings: dict[str, Any]
    facts: dict[str, Any]


def write_files(writer: ResultsWriter, run: Run, circuit: Described) -> None:
    """Write `graph.json` and `suggested_groups.json`."""
    facts = {key: value for key, value in circuit.facts.items() if key not in ("prompt", "n_layers")}
    settings = GraphSettings(
        circuit.name, run.manifest.model_name, round(time.time() * 1000),
        node_share=circuit.settings.get("node_share"), edge_share=circuit.settings.get("edge_share"),
        settings=circuit.settings, facts=facts,
    )  # fmt: skip
    for name, text in (
        (GRAPH_FILE, graph_text(graph_json(circuit.graph, circuit.groups, settings=settings))),
        (SUGGESTED_GROUPS, groups_text(circuit.groups)),
    ):
        raw = text.encode()
        with writer.file(name, needed=len(raw)) as f:
            f.write(raw)
