"""A graph file of this or another program as a circuit of a run. Needs no model."""

from __future__ import annotations

import logging
from pathlib import Path

from neuron_signatures.circuits.files import Described, write_files
from neuron_signatures.circuits.outcome import check_export
from neuron_signatures.runs.circuits.exchange.from_json import ImportedCircuit, imported_circuit
from neuron_signatures.runs.circuits.folder import TRACE, circuit_folder
from neuron_signatures.runs.circuits.reader import StoredCircuit, read_circuit
from neuron_signatures.runs.circuits.tables import circuit_tables
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import check_ids
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder

log = logging.getLogger(__name__)


def import_circuit(run: Run, path: Path, *, name: str | None, export: Path | None, overwrite: bool) -> StoredCircuit:
    """Store the graph of a file as circuit `name`, by default the file's own name.

    Its groups and pins become the suggested ones; groups that people made here stay. Raises `UsageError` for a file
    that is no graph, if there is such a circuit, and if it could not be exported to `export`, unless `overwrite`.
    """
    found = imported_circuit(path)
    name = name or found.name
    check_ids([name], where="--name")
    folder = circuit_folder(name)
    if not overwrite and TRACE in folder.finished(run.path):
        what = "there is a circuit of this name"
        raise UsageError(what, where=folder.folder, next_step="Give --name, or --overwrite to replace it")
    check_export(export, [name], overwrite=overwrite)
    warnings = _another_model(run, found)
    for warning in warnings:
        log.warning("%s", warning)
    with open_folder(run, folder, TRACE) as writer:
        for stem, frame in circuit_tables(found.graph).items():
            writer.table(stem, frame)
        write_files(writer.files, run, Described(name, found.graph, found.groups, found.settings, found.facts))
        writer.finish(settings=found.settings, facts=found.facts, warnings=warnings)
    return read_circuit(run.path, name)


def _another_model(run: Run, found: ImportedCircuit) -> list[str]:
    """A warning if the nodes cannot all be neurons of the run's model."""
    m = run.manifest
    neurons = [node.neuron for node in found.graph.nodes if node.neuron is not None]
    if found.graph.n_layers == m.n_layers and max(neurons, default=0) < m.d_mlp:
        return []
    return [f"the graph is not of this run's model, which has {m.n_layers} layers of {m.d_mlp} neurons"]
