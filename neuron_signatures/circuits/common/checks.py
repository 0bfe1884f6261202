"""Mode `common_checks` of stage 10: whether the common neurons are enough, and needed, in each prompt.

The set of a prompt are the common neurons at the positions with their roles; of a prompt whose circuit is not held out,
those that are common to the others. It is kept alone or ablated, beside random sets: see `circuits.checks.curves`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.circuits.case import PreparedCase
from neuron_signatures.circuits.checks.copies import copies_within
from neuron_signatures.circuits.checks.curves import Curves, curves
from neuron_signatures.circuits.checks.partials import Partials
from neuron_signatures.circuits.checks.results import point_row
from neuron_signatures.circuits.checks.settings import CurveSettings
from neuron_signatures.circuits.common.circuit import common_keys
from neuron_signatures.circuits.common.members import Key, Member, template_of
from neuron_signatures.circuits.types import NeuronAt
from neuron_signatures.runs.circuits.folder import COMMON, COMMON_CHECKS, TABLES, TRACE, circuit_folder
from neuron_signatures.runs.circuits.reader import StoredCircuit
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.progress import ProgressOf, silent
from neuron_signatures.runs.result_records import DumpIdentity
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_record import run_identity
from neuron_signatures.runs.stage_results import open_folder, record_name
from neuron_signatures.views.circuit.common_checks import CommonCheckRow, common_kept

log = logging.getLogger(__name__)


def check_common(
    run: Run, name: str, cases: Mapping[str, PreparedCase], circuits: Sequence[StoredCircuit],
    settings: CurveSettings, *, max_memory: int, overwrite: bool, progress: ProgressOf,
) -> None:  # fmt: skip
    """Test the common neurons of `circuits`, in the folder `name`, unless they are tested. Sizes of the settings have
    no effect. An interrupted command resumes with the passes that it has run. `max_memory` is of a forward pass."""
    if not overwrite and is_finished(run, name, settings):
        log.info("common circuit %s is tested: read from %s", name, circuit_folder(name).folder)
        return
    folder, template = circuit_folder(name), template_of(circuits)
    traces = [f"{circuit_folder(circuit.name).folder}/{record_name(TRACE)}" for circuit in circuits]
    with open_folder(run, folder, COMMON_CHECKS) as writer:
        identity = {**_stored(settings), "common": folder.read_record(run.path, COMMON).record_sha256}
        partials = Partials(writer, COMMON_CHECKS, identity)
        rows, warnings = [], []
        with progress("tests of common neurons", len(template.members)) as bar:
            for i, (member, common) in enumerate(zip(template.members, common_keys(template), strict=True)):
                found = _measured(cases[member.name], member, common, settings, max_memory, partials, i)
                rows.append(_row(member, common, found))
                warnings += [f"{member.name}: {warning}" for warning in found.warnings]
                bar.advance(1)
        writer.table(COMMON_CHECKS, _frame(rows))
        writer.finish(
            settings=_stored(settings), facts=_facts(rows), warnings=warnings,
            sources=[f"{folder.folder}/{record_name(COMMON)}", *traces],
        )  # fmt: skip
        partials.remove()


def is_finished(run: Run, name: str, settings: CurveSettings) -> bool:
    """Whether the common circuit, as it was last made, was tested with these settings."""
    folder = circuit_folder(name)
    if COMMON_CHECKS not in folder.finished(run.path):
        return False
    record = folder.read_record(run.path, COMMON_CHECKS)
    same_run = record.run == DumpIdentity.model_validate(run_identity(run))
    return record.settings == _stored(settings) and same_run and not folder.outdated(run.path, record)


def places(member: Member, keys: Collection[Key]) -> list[NeuronAt]:
    """The neurons at the positions of a prompt that have their roles; those without one are left out."""
    position = {role: pos for pos, role in enumerate(member.roles)}
    found = [NeuronAt(k.layer, position[k.role], k.neuron or 0) for k in keys if k.role in position]
    return sorted(found)


def _measured(
    case: PreparedCase, member: Member, common: Collection[Key], settings: CurveSettings, max_memory: int,
    partials: Partials, i: int,
) -> Curves:  # fmt: skip
    batch = copies_within(case.model.hf, len(member.graph.prompt.token_ids), max_memory)
    own = replace(settings, sizes=(), batch=batch)
    partial = partials.partial(str(i))
    values = StoredValues(partial)
    unranked = torch.zeros_like(case.references)
    with partial.save_on_error(values.arrays):
        return curves(
            case.problem, unranked, case.references, own, circuit=places(member, common), values=values,
            progress=silent,
        )  # fmt: skip


def _row(member: Member, common: Collection[Key], found: Curves) -> dict[str, Any]:
    set_ = {"k": 0, "n_random": 0} if found.circuit is None else point_row(found.circuit)
    return {
        "circuit": member.name, "held_out": member.held_out, "n_common": len(common), "n_units": found.n_units, **set_
    }  # fmt: skip


def _frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(TABLES[COMMON_CHECKS].columns))


def _facts(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over the held-out prompts, and over the others."""
    known = [CommonCheckRow(**row) for row in rows]
    facts: dict[str, Any] = strict({
        part: asdict(common_kept([row for row in known if row.held_out == held]))
        for part, held in (("held_out", True), ("others", False))
    })  # fmt: skip
    return facts


def _stored(settings: CurveSettings) -> dict[str, Any]:
    """The settings on which the result depends."""
    return {"n_random": settings.n_random, "seed": settings.seed, "min_effect": settings.min_effect}
