"""The tables of a common circuit, and its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from neuron_signatures.circuits.common.circuit import CommonCircuit, common_circuit
from neuron_signatures.circuits.common.held_out import Held
from neuron_signatures.circuits.common.members import Member, template_of
from neuron_signatures.runs.circuits.folder import (
    COMMON,
    COMMON_EDGES,
    COMMON_NODES,
    MEMBERS,
    TABLES,
    TRACE,
    circuit_folder,
)
from neuron_signatures.runs.circuits.reader import StoredCircuit
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder, record_name

if TYPE_CHECKING:
    import pandas as pd


def write_common(run: Run, name: str, circuits: Sequence[StoredCircuit], *, seed: int = 0) -> CommonCircuit:
    """Write `circuits/<name>/` with what these circuits of the run have in common; its record last.

    Raises `UsageError` as `template_of`, before anything is written.
    """
    template = template_of(circuits)
    found = common_circuit(template, run, d_mlp=run.manifest.d_mlp, seed=seed)
    with open_folder(run, circuit_folder(name), COMMON) as writer:
        for stem, frame in common_tables(found).items():
            writer.table(stem, frame)
        writer.finish(
            settings={"circuits": [circuit.name for circuit in circuits], "seed": seed}, facts=strict(found.facts()),
            sources=[f"{circuit_folder(circuit.name).folder}/{record_name(TRACE)}" for circuit in circuits],
        )  # fmt: skip
    return found


def common_tables(common: CommonCircuit) -> dict[str, pd.DataFrame]:
    """By the stem of the table."""
    import pandas as pd

    pairs = zip(common.template.members, common.held, strict=True)
    rows: dict[str, list[dict[str, Any]]] = {
        COMMON_NODES: [{**asdict(node), **node.key._asdict()} for node in common.nodes],
        COMMON_EDGES: [edge._asdict() for edge in common.edges],
        MEMBERS: [_member(member, held) for member, held in pairs],
    }
    frames = {stem: pd.DataFrame(found, columns=list(TABLES[stem].columns)) for stem, found in rows.items()}
    whole = {COMMON_NODES: {"neuron": "Int32", "n_null": "Int32"}, MEMBERS: {"n_null": "Int32"}}
    return {stem: frame.astype(whole.get(stem, {})) for stem, frame in frames.items()}


def _member(member: Member, held: Held) -> dict[str, Any]:
    prompt = member.graph.prompt
    return {
        "circuit": member.name, "prompt_id": prompt.prompt_id, "entity": member.entity, "target": prompt.target,
        "foil": prompt.foil, "held_out": member.held_out, **held._asdict(),
    }  # fmt: skip
