"""Mode `checks` of stage 10: tests a traced circuit by intervention, and writes their tables, the record last."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.circuits.checks.curves import Curves, curves
from neuron_signatures.circuits.checks.partials import Partials
from neuron_signatures.circuits.checks.results import curve_facts, curve_frame, swap_frame
from neuron_signatures.circuits.checks.settings import CheckSettings, CurveSettings
from neuron_signatures.circuits.checks.swaps import Swap, SwapPrompt, swap_group
from neuron_signatures.circuits.groups.align import align
from neuron_signatures.circuits.tracing.relevance import relevance
from neuron_signatures.circuits.types import NeuronAt
from neuron_signatures.interventions.controls.random_sets import write_norms
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.runs.circuits.folder import CHECKS, CURVES, SWAPS, TRACE, circuit_folder
from neuron_signatures.runs.circuits.graph import Graph
from neuron_signatures.runs.circuits.groups import Group, read_groups
from neuron_signatures.runs.names import META
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.result_records import DumpIdentity
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_record import run_identity
from neuron_signatures.runs.stage_results import open_folder

log = logging.getLogger(__name__)

WHOLE: Final = "all neurons"
"""The name of the group of all neurons of a circuit."""


@dataclass(frozen=True)
class Tested:
    """What is tested: a circuit `name` with its graph, by the reference that it was traced with. `others` are prompts
    of the same template with other answers."""

    name: str
    graph: Graph
    model: LoadedModel
    problem: Problem
    acts: Float[Tensor, "layer pos neuron"]
    reference: Float[Tensor, "layer pos neuron"]
    others: tuple[SwapPrompt, ...]

    @property
    def neurons(self) -> dict[str, NeuronAt]:
        """By the id of their node."""
        return {n.id: NeuronAt(n.layer, n.pos, n.neuron) for n in self.graph.nodes if n.neuron is not None}


def are_finished(run: Run, name: str, settings: CheckSettings) -> bool:
    """Whether this circuit, as it was last traced, was tested with these settings."""
    folder = circuit_folder(name)
    if CHECKS not in folder.finished(run.path):
        return False
    record = folder.read_record(run.path, CHECKS)
    same_run = record.run == DumpIdentity.model_validate(run_identity(run))
    same = all(record.settings.get(key) == value for key, value in settings.in_results().items())
    return same and same_run and not folder.outdated(run.path, record)


def write_checks(run: Run, tested: Tested, settings: CheckSettings, progress: ProgressOf) -> None:
    """Test a circuit whose trace is finished. An interrupted command resumes with the passes that it has run.

    Raises `RunLockedError`, `UsageError` for a reference that is not finite, `EnvironmentProblem` if memory runs out.
    """
    folder = circuit_folder(tested.name)
    trace_record = f"{folder.folder}/{TRACE}{META}"
    with open_folder(run, folder, CHECKS) as writer:
        identity = {**settings.in_results(), "trace": folder.read_record(run.path, TRACE).record_sha256}
        parts = Partials(writer, CHECKS, identity)
        found = _curves(tested, settings.curves, parts, progress)
        swaps = _swaps(run, tested, settings, parts, progress)
        writer.table(CURVES, curve_frame(found))
        writer.table(SWAPS, swap_frame(swaps, tested.model.tokenizer))
        writer.finish(
            settings=settings.in_results(), facts=strict(curve_facts(found)), sources=[trace_record],
            warnings=found.warnings,
        )  # fmt: skip
        parts.remove()


def _curves(tested: Tested, settings: CurveSettings, parts: Partials, progress: ProgressOf) -> Curves:
    scores = relevance(tested.problem, tested.reference).neurons
    partial = parts.partial(CURVES)
    values = StoredValues(partial)
    with partial.save_on_error(values.arrays):
        return curves(
            tested.problem, scores, tested.reference, settings, circuit=list(tested.neurons.values()), values=values,
            progress=progress,
        )  # fmt: skip


def _swaps(run: Run, tested: Tested, settings: CheckSettings, parts: Partials, progress: ProgressOf) -> list[Swap]:
    """Of every group of the circuit that has neurons, and of all its neurons."""
    prompt = tested.graph.prompt
    if not tested.others:
        return []
    groups = _groups(tested, read_groups(run.path, tested.name).groups)
    here = SwapPrompt(prompt.prompt_id, prompt.token_ids, prompt.target_id, tested.acts)
    norms = write_norms(tested.model.hf, list(prompt.token_ids))
    partial = parts.partial(SWAPS)
    values = StoredValues(partial)
    total = len(groups) * len(tested.others) * settings.swaps.n_random
    with progress("swaps", total) as bar, partial.save_on_error(values.arrays):
        bar.skip(values.count // 2)
        return [
            swap_group(
                tested.model.hf, here, other, align(prompt.token_ids, other.token_ids), label, members, settings.swaps,
                norms=norms, values=values, advance=bar.advance,
            )
            for label, members in groups
            for other in tested.others
        ]  # fmt: skip


def _groups(tested: Tested, groups: Sequence[Group]) -> list[tuple[str, list[NeuronAt]]]:
    """Labels with their neurons. A label that is there twice, or is empty, is told by the group's id."""
    neurons = tested.neurons
    members = [(g, [neurons[node] for node in g.nodes if node in neurons]) for g in groups]
    labels = [g.label for g in groups]
    named = [
        (g.label if g.label and labels.count(g.label) == 1 else f"{g.label} ({g.id})", own) for g, own in members if own
    ]
    return [(WHOLE, list(neurons.values())), *named]
