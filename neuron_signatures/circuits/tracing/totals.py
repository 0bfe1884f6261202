"""Total effects by the plain gradient: nothing constant, through every path (arXiv 2403.00745 for the centring).

    effect_st = (a_s - ā_s) ∂a_t/∂a_s

This is the first-order estimate of a_t minus its value with a_s at ā_s. Unlike direct edges, effects do not sum to a_t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.circuits.tracing.batches import DEFAULT_MEMORY, derivatives
from neuron_signatures.circuits.tracing.columns import Columns
from neuron_signatures.circuits.tracing.passes import Pass, live_pass
from neuron_signatures.circuits.types import NeuronAt, Row
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import output_projections
from neuron_signatures.models.weights import output_weight
from neuron_signatures.runs.progress import Bar, ProgressOf, silent


@dataclass(frozen=True)
class TotalEffects:
    """Float32 on the CPU; 0 where no path leads from the source to the row."""

    neurons: Float[Tensor, "row column"]
    """(a_s - ā_s) ∂a_t/∂a_s."""
    embeddings: Float[Tensor, "row pos"]
    """emb · ∂a_t/∂emb, not centred."""


def total_effects(
    problem: Problem,
    rows: Sequence[Row],
    columns: Sequence[NeuronAt],
    reference: Float[Tensor, "layer pos neuron"],
    *,
    memory: int = DEFAULT_MEMORY,
    progress: ProgressOf = silent,
) -> TotalEffects:
    """Total effects of `columns` and embeddings on `rows`; arguments and errors as of `incoming`."""
    work = work_on(problem.hf, "total effects", problem.token_ids)
    with memory_faults(work), live_pass(problem) as found, progress("rows", len(rows)) as bar:
        acts = found.plain_acts()
        return effects(found, rows, columns, acts - reference.to(acts), memory=memory, bar=bar)


def effects(
    found: Pass,
    rows: Sequence[Row],
    columns: Sequence[NeuronAt],
    change: Float[Tensor, "layer pos neuron"],
    *,
    memory: int,
    bar: Bar,
) -> TotalEffects:
    """The derivatives of the pass's rows by the columns, times their `change`."""
    chosen = Columns(columns)
    neurons = torch.zeros(len(rows), len(columns))
    embeddings = torch.zeros(len(rows), found.n_pos)
    weights = [output_weight(p) for p in output_projections(found.problem.hf)]
    for batch in derivatives(found, rows, memory=memory):
        index = torch.tensor(batch.numbers)
        embeddings[index] = batch.embeddings.float()
        for layer, pulled in enumerate(batch.outputs):
            at = chosen.of(layer)
            if at is None:
                continue
            column, pos, neuron = at
            by_neuron = torch.einsum("rnd,nd->rn", pulled[:, pos], weights[layer][neuron].to(pulled))
            neurons[index[:, None], column] = (by_neuron * change[layer, pos, neuron]).float().cpu()
        bar.advance(len(batch.numbers))
    return TotalEffects(neurons, embeddings)
