"""The circuits of a run, and one with everything that belongs to it: groups, tests, doubts. Read without torch."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from neuron_signatures.runs.circuits.folder import CHECKS, COMMON, STAGE, TRACE, circuit_folder
from neuron_signatures.runs.circuits.graph import Prompt
from neuron_signatures.runs.circuits.groups import Group, Groups, read_groups
from neuron_signatures.runs.circuits.reader import StoredCircuit, prompt_of, read_circuit
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.names import CIRCUITS
from neuron_signatures.runs.result_records import another_dump
from neuron_signatures.views.circuit.checks import Checks, read_checks
from neuron_signatures.views.circuit.lists import CircuitIndex

MOST_CIRCUITS: Final = 1000
"""Folders that are looked at."""


class CircuitRef(NamedTuple):
    """A folder of `circuits/`, from its record."""

    name: str
    """Not escaped: the name of any folder."""
    prompt: Prompt | None = None
    """None for what several circuits have in common, and for a folder that cannot be read."""
    made: str = ""
    """UTC."""
    n_nodes: int | None = None
    n_edges: int | None = None
    is_common: bool = False
    is_tested: bool = False
    problem: str = ""
    """Why it cannot be read."""


@dataclass(frozen=True)
class OpenedCircuit:
    """A circuit and what else the run holds of it. `problems` say what of the rest cannot be read."""

    stored: StoredCircuit
    groups: Groups
    checks: Checks | None
    problems: tuple[str, ...]

    @property
    def prompt(self) -> Prompt:
        return self.stored.graph.prompt

    @cached_property
    def index(self) -> CircuitIndex:
        return CircuitIndex(self.stored.graph)

    @cached_property
    def group_of(self) -> dict[str, Group]:
        """The group of each node that is in one."""
        return self.groups.group_of()

    def setting(self, name: str) -> str:
        """A setting of the trace as text; empty if it is not recorded."""
        value = self.stored.record.settings.get(name)
        return "" if value is None or isinstance(value, dict | list) else str(value)

    @property
    def reference(self) -> str:
        """What activations are compared with: `mean`, `zero`; empty if it is not recorded."""
        found = self.stored.record.settings.get("reference")
        name = found.get("name") if isinstance(found, dict) else found
        return name if isinstance(name, str) else ""

    def fact(self, name: str) -> float | None:
        """A number of the trace; None if it is not recorded."""
        value = self.stored.record.facts.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def circuit_refs(run_dir: Path) -> list[CircuitRef]:
    """All folders of `circuits/` in order of name, also those that are not finished or cannot be read."""
    return [_ref(run_dir, name) for name in _folders(run_dir)]


def open_circuit(run_dir: Path, name: str, manifest: Manifest) -> OpenedCircuit:
    """Raises `UsageError` if it has not been made, `BadRunError` if it is damaged. Damaged groups and tests are
    `problems`."""
    stored = read_circuit(run_dir, name)
    problems: list[str] = []
    groups, checks = Groups(), None
    try:
        groups = read_groups(run_dir, name)
    except ProjectError as e:
        problems.append(f"groups: {e.line()}")
    try:
        checks = read_checks(run_dir, name)
    except ProjectError as e:
        problems.append(f"tests: {e.line()}")
    if doubt := another_dump(manifest, stored.record):
        problems.append(f"the circuit was {doubt}" if doubt.startswith("made") else doubt)
    if checks is not None and checks.outdated:
        problems.append("the circuit was traced again after it was tested")
    return OpenedCircuit(stored, groups, checks, tuple(problems))


def trace_command(run_dir: Path, prompt_id: str) -> str:
    """How to make the circuit of a prompt."""
    return shlex.join(["python", "-m", f"neuron_signatures.{STAGE}", "--run_dir", str(run_dir), "--prompt_id",
                       prompt_id])  # fmt: skip


def checks_command(run_dir: Path, name: str, prompt: Prompt) -> str:
    """How to test a circuit: the trace again, where it is not finished, and then the tests."""
    foil = [] if prompt.foil_id is None else ["--foil_token_id", str(prompt.foil_id)]
    flags = ["--target_token_id", str(prompt.target_id), *foil, "--target_pos", str(prompt.target_pos), "--name", name]
    return f"{trace_command(run_dir, prompt.prompt_id)} {shlex.join(flags)} --checks"


def _folders(run_dir: Path) -> list[str]:
    try:
        with os.scandir(run_dir / CIRCUITS) as entries:
            names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))
    except OSError:
        return []
    return names[:MOST_CIRCUITS]


def _ref(run_dir: Path, name: str) -> CircuitRef:
    folder = circuit_folder(name)
    try:
        done = folder.finished(run_dir)
        if TRACE in done:
            record = folder.read_record(run_dir, TRACE)
            n_nodes, n_edges = (record.facts.get(key) for key in ("n_nodes", "n_edges"))
            return CircuitRef(
                name, prompt_of(record, run_dir / folder.folder), record.created_at_utc,
                n_nodes if isinstance(n_nodes, int) else None, n_edges if isinstance(n_edges, int) else None,
                is_tested=CHECKS in done,
            )  # fmt: skip
        if COMMON in done:
            return CircuitRef(name, made=folder.read_record(run_dir, COMMON).created_at_utc, is_common=True)
    except ProjectError as e:
        return CircuitRef(name, problem=e.line())
    return CircuitRef(name, problem="it is not finished, or was stopped")
