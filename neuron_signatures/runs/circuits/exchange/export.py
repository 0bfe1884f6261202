"""The folder that a local viewer of attribution graphs reads: the list of graphs, each graph, a file per neuron."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from neuron_signatures.runs.circuits.exchange.examples import Examples, examples_of
from neuron_signatures.runs.circuits.exchange.export_folder import LIST, check_folder, listed_graphs, make_folders
from neuron_signatures.runs.circuits.exchange.features import Written, feature_file, neurons_of, written_tokens
from neuron_signatures.runs.circuits.exchange.schema import GraphFile
from neuron_signatures.runs.circuits.exchange.texts import cantor_pair
from neuron_signatures.runs.circuits.exchange.to_json import (
    GraphSettings,
    graph_json,
    scan_name,
    write_graph_json,
)
from neuron_signatures.runs.circuits.groups import GroupsFile, read_groups
from neuron_signatures.runs.circuits.reader import StoredCircuit
from neuron_signatures.runs.files import human_bytes, json_text, write_text
from neuron_signatures.runs.run import Run

log = logging.getLogger(__name__)

EXAMPLES: Final = 20
"""Of each pole of a neuron."""


@dataclass(frozen=True)
class ExportSummary:
    """What was written."""

    folder: Path
    slug: str
    n_nodes: int
    n_links: int
    n_dropped_links: int
    graph_bytes: int
    n_neurons: int
    """Files of neurons."""
    n_without_examples: int
    query: str
    """What to put behind the local viewer's address: see `viewer_query`."""

    def lines(self) -> list[str]:
        """For people."""
        left_out = f", {self.n_dropped_links:,} weakest edges left out" if self.n_dropped_links else ""
        without = f", {self.n_without_examples} of them without examples" if self.n_without_examples else ""
        return [
            f"{self.folder / self.slug}.json: {self.n_nodes} nodes, {self.n_links:,} edges{left_out}, "
            f"{human_bytes(self.graph_bytes)}",
            f"{self.n_neurons} files of neurons{without}",
            f"In a local viewer: index.html?slug={self.slug}, and with pins and groups the address in "
            f"{address_name(self.slug)}",
        ]


def export_circuit(
    run: Run, circuit: StoredCircuit, folder: Path, *, groups: GroupsFile | None = None, overwrite: bool = False,
    examples: int = EXAMPLES,
) -> ExportSummary:  # fmt: skip
    """Write a circuit for public viewers, with its groups and pins (None: those of the run).

    The folder is new or empty, or an export to which the circuit is added. Raises `UsageError` for another one, or if
    its file of this circuit has been changed since, unless `overwrite`; `BadRunError` for a damaged run,
    `EnvironmentProblem` if it cannot write.
    """
    file = stored_graph_json(circuit, groups or read_groups(run.path, circuit.name), run.manifest.model_name)
    check_folder(folder, [circuit.name], overwrite=overwrite)
    listed = [g for g in listed_graphs(folder) or [] if g.get("slug") != file.metadata.slug]
    neurons = neurons_of(circuit.graph)
    found = examples_of(run, neurons, most=examples)
    written = written_tokens(run.path, circuit.graph, neurons)
    below = scan_name(run.manifest.model_name).removeprefix("./data/")
    make_folders(folder, below)
    for n in neurons:
        content = feature_file(n, found[n], written.get(n, Written()))
        text = json.dumps(content.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
        write_text(folder, f"{cantor_pair(*n)}.json", text + "\n", below=below)
    n_bytes = write_graph_json(folder, f"{file.metadata.slug}.json", file)
    own, query = file.neuron_signatures, viewer_query(file)
    write_text(folder, address_name(file.metadata.slug), f"index.html{query}\n")
    entry = file.metadata.model_dump(mode="json", exclude_none=True)
    write_text(folder, LIST, json_text({"graphs": [*listed, entry]}))
    return ExportSummary(
        folder, file.metadata.slug, len(file.nodes), len(file.links), own.dropped_links if own else 0, n_bytes,
        len(neurons), sum(_is_empty(e) for e in found.values()), query,
    )  # fmt: skip


def stored_graph_json(circuit: StoredCircuit, groups: GroupsFile | None, model_name: str) -> GraphFile:
    """The file of a circuit of a run, as `to_json.graph_json`."""
    record = circuit.record
    facts = {k: v for k, v in record.facts.items() if k not in ("prompt", "n_layers")}
    settings = GraphSettings(
        circuit.name, model_name, _milliseconds(record.created_at_utc), node_share=record.settings.get("node_share"),
        edge_share=record.settings.get("edge_share"), settings=record.settings, facts=facts,
    )  # fmt: skip
    return graph_json(circuit.graph, groups, settings=settings)


def address_name(slug: str) -> str:
    """The file with the address for a local viewer."""
    return f"{slug}_address.txt"


def viewer_query(file: GraphFile) -> str:
    """`?slug=...&pinnedIds=...&supernodes=...`, each part encoded twice, as the local viewer decodes it.

    It takes supernodes from its address only, not from the file, and saves only the pins that it took from there.
    """
    params = file.qParams
    parts = {"slug": file.metadata.slug}
    if params.pinnedIds:
        parts["pinnedIds"] = quote(",".join(params.pinnedIds))
    if params.supernodes:
        parts["supernodes"] = quote(json.dumps(params.supernodes, ensure_ascii=False, separators=(",", ":")))
    return f"?{urlencode(parts)}"


def _is_empty(examples: Examples) -> bool:
    return not examples.positive and not examples.negative


def _milliseconds(time: str) -> int | None:
    """Since 1970; None for a text that is no time."""
    try:
        return round(datetime.fromisoformat(time).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
