"""Tests of the circuits of a command by intervention, after they are traced."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any

from neuron_signatures.circuits.case import PreparedCase
from neuron_signatures.circuits.checks.copies import copies_within
from neuron_signatures.circuits.checks.settings import CheckSettings
from neuron_signatures.circuits.checks.stage import Tested, are_finished, write_checks
from neuron_signatures.circuits.checks.swaps import SwapPrompt
from neuron_signatures.models.rerun.checked_prompt import recompute
from neuron_signatures.runs.circuits.folder import CHECKS, COMMON_CHECKS, circuit_folder
from neuron_signatures.runs.circuits.graph import Prompt
from neuron_signatures.runs.circuits.reader import StoredCircuit
from neuron_signatures.runs.progress import ProgressOf, silent
from neuron_signatures.runs.run import Run

log = logging.getLogger(__name__)


def check_circuits(
    run: Run, cases: Mapping[str, PreparedCase], circuits: Sequence[StoredCircuit], settings: CheckSettings, *,
    max_memory: int, overwrite: bool, progress: ProgressOf,
) -> None:  # fmt: skip
    """Test those that are not tested yet. Groups are swapped from the other cases that have another answer, or from
    some of them. `max_memory` is in bytes, for a forward pass."""
    several = len(circuits) > 1
    with (progress if several else silent)("tests", len(circuits)) as bar:
        for circuit in circuits:
            if not overwrite and are_finished(run, circuit.name, settings):
                log.info("circuit %s is tested: read from %s", circuit.name, circuit_folder(circuit.name).folder)
                bar.skip(1)
                continue
            tested = _tested(circuit, cases, circuits, settings)
            batch = copies_within(tested.model.hf, len(circuit.graph.prompt.token_ids), max_memory)
            write_checks(run, tested, settings.in_batches(batch), silent if several else progress)
            bar.advance(1)


def check_facts(run: Run, circuit: StoredCircuit) -> dict[str, Any] | None:
    """The facts of the tests of a circuit; None if it was not tested, or traced again since then."""
    return _facts(run, circuit.name, CHECKS)


def common_check_facts(run: Run, name: str) -> dict[str, Any] | None:
    """The same of the common neurons of several circuits."""
    return _facts(run, name, COMMON_CHECKS)


def _facts(run: Run, name: str, mode: str) -> dict[str, Any] | None:
    folder = circuit_folder(name)
    if mode not in folder.finished(run.path):
        return None
    record = folder.read_record(run.path, mode)
    return None if folder.outdated(run.path, record) else record.facts


def _tested(
    circuit: StoredCircuit, cases: Mapping[str, PreparedCase], circuits: Sequence[StoredCircuit],
    settings: CheckSettings,
) -> Tested:  # fmt: skip
    case, prompt = cases[circuit.name], circuit.graph.prompt
    others = [c.graph.prompt for c in circuits if c.graph.prompt.target_id != prompt.target_id]
    rng = random.Random(settings.swaps.seed)
    drawn = sorted(rng.sample(range(len(others)), min(settings.n_others, len(others))))
    return Tested(
        name=circuit.name, graph=circuit.graph, model=case.model, problem=case.problem,
        acts=recompute(case.model, prompt.token_ids), reference=case.references,
        others=tuple(_swap_prompt(case, others[i]) for i in drawn),
    )  # fmt: skip


def _swap_prompt(case: PreparedCase, other: Prompt) -> SwapPrompt:
    return SwapPrompt(other.prompt_id, other.token_ids, other.target_id, recompute(case.model, other.token_ids))
