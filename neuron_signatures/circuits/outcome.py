"""What a command of stage 10 has made, for its summary."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuron_signatures.circuits.common.tables import write_common
from neuron_signatures.runs.circuits.exchange.export import ExportSummary, export_circuit
from neuron_signatures.runs.circuits.exchange.export_folder import check_folder
from neuron_signatures.runs.circuits.folder import COMMON, circuit_folder
from neuron_signatures.runs.circuits.reader import StoredCircuit
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Common:
    """What several circuits have in common: the name of its folder, and the facts of its record. `checked` are those
    of the tests of the common neurons, None without."""

    name: str
    facts: dict[str, Any]
    checked: dict[str, Any] | None = None


@dataclass(frozen=True)
class Outcome:
    """The circuits of a command, in the order of its cases; `new` are the names of those that were made now."""

    circuits: tuple[StoredCircuit, ...]
    new: frozenset[str]
    exported: tuple[ExportSummary, ...] = ()
    common: Common | None = None
    checked: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Facts of the tests, by the name of the circuit, of those that were tested."""


def imported(run: Run, circuit: StoredCircuit, export: Path | None, *, overwrite: bool) -> Outcome:
    """The outcome of an import."""
    exported = export_all(run, [circuit], export, overwrite=overwrite)
    return Outcome((circuit,), frozenset({circuit.name}), exported)


def check_export(folder: Path | None, names: Collection[str], *, overwrite: bool) -> None:
    """Raise `UsageError` if circuits of these names could not be exported to the folder; nothing without one."""
    if folder is not None:
        check_folder(folder, names, overwrite=overwrite)


def export_all(
    run: Run, circuits: Sequence[StoredCircuit], folder: Path | None, *, overwrite: bool
) -> tuple[ExportSummary, ...]:
    """Write the circuits into a folder for public viewers; nothing without one. Raises as `export_circuit`."""
    if folder is None:
        return ()
    return tuple(export_circuit(run, circuit, folder, overwrite=overwrite) for circuit in circuits)


def common_of(run: Run, name: str | None, circuits: Sequence[StoredCircuit], *, again: bool) -> Common | None:
    """Write what the circuits of one template have in common, unless it is there and not to be made `again`.

    None, with a warning, if their prompts are not of one template.
    """
    assert name is not None
    folder = circuit_folder(name)
    if not again and COMMON in folder.finished(run.path):
        record = folder.read_record(run.path, COMMON)
        same = record.settings.get("circuits") == [circuit.name for circuit in circuits]
        again = not same or bool(folder.outdated(run.path, record))
    else:
        again = True
    if again:
        try:
            write_common(run, name, circuits)
        except UsageError as e:
            log.warning("nothing is said of what the circuits have in common: %s", e.what)
            return None
    return Common(name, folder.read_record(run.path, COMMON).facts)
