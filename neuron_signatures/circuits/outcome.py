"""What a command of stage 10 has made, for its summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neuron_signatures.runs.circuits.exchange.export import ExportSummary, export_circuit
from neuron_signatures.runs.circuits.reader import StoredCircuit
from neuron_signatures.runs.run import Run


@dataclass(frozen=True)
class Outcome:
    """The circuits of a command, in the order of its cases; `new` are the names of those that were made now."""

    circuits: tuple[StoredCircuit, ...]
    new: frozenset[str]
    exported: tuple[ExportSummary, ...] = ()


def imported(run: Run, circuit: StoredCircuit, export: Path | None, *, overwrite: bool) -> Outcome:
    """The outcome of an import."""
    exported = export_all(run, [circuit], export, overwrite=overwrite)
    return Outcome((circuit,), frozenset({circuit.name}), exported)


def export_all(
    run: Run, circuits: Sequence[StoredCircuit], folder: Path | None, *, overwrite: bool
) -> tuple[ExportSummary, ...]:
    """Write the circuits into a folder for public viewers; nothing without one. Raises as `export_circuit`."""
    if folder is None:
        return ()
    return tuple(export_circuit(run, circuit, folder, overwrite=overwrite) for circuit in circuits)
