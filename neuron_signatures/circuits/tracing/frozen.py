"""The exact change of a neuron when one source is set to its reference and only the neuron's own MLP responds.

    change_st = a_t - act(g_t + Δ ∂g_t/∂a_s) (u_t + Δ ∂u_t/∂a_s),   Δ = ā_s - a_s

The scales of all norms, the attention patterns and all other neurons are constant, as for the edge E_st, which predicts
this with the half rule. u is 1 in an MLP that is not gated. The change of the target is the edge itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.circuits.tracing.batches import DEFAULT_MEMORY
from neuron_signatures.circuits.tracing.passes import Pass, input_passes
from neuron_signatures.circuits.tracing.totals import effects
from neuron_signatures.circuits.types import EmbeddingAt, NeuronAt, Row, Source
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import decoder_layers
from neuron_signatures.models.relevance import activation_function
from neuron_signatures.runs.progress import silent


def frozen_change(
    problem: Problem,
    edges: Sequence[tuple[Source, Row]],
    reference: Float[Tensor, "layer pos neuron"],
    *,
    memory: int = DEFAULT_MEMORY,
) -> Float[Tensor, " edge"]:
    """The change of each edge's target, float32 on the CPU; positive where the source raises the target's value.

    An embedding is set to 0, a neuron to its `reference`. Errors as of `incoming`.
    """
    columns = list(dict.fromkeys(source for source, _ in edges if isinstance(source, NeuronAt)))
    rows: list[Row] = list(dict.fromkeys(row for _, row in edges))
    with memory_faults(work_on(problem.hf, "frozen changes", problem.token_ids)), input_passes(problem) as passes:
        change = passes.acts - reference.to(passes.acts)

        def moved(found: Pass) -> _Factor:
            by = effects(found, rows, columns, change, memory=memory, bar=silent("rows", len(rows)))
            return _Factor(found, torch.cat([by.neurons, by.embeddings], 1))

        gate, factor = moved(passes.activated), None if passes.factor is None else moved(passes.factor)
    table = torch.stack([_changes(problem, gate, factor, i, row) for i, row in enumerate(rows)])
    at: dict[Source, int] = {EmbeddingAt(pos): len(columns) + pos for pos in range(change.shape[1])}
    at |= {column: i for i, column in enumerate(columns)}
    row_of = {row: i for i, row in enumerate(rows)}
    return table[[row_of[row] for _, row in edges], [at[source] for source, _ in edges]]


class _Factor(NamedTuple):
    """One factor of the activations, and what each source contributes to it."""

    found: Pass
    moved: Float[Tensor, "row source"]

    def ends(self, i: int, row: NeuronAt) -> tuple[Tensor, Tensor]:
        """The factor of row `i` as it is, and without each source."""
        value = self.found.acts[row.layer][row.pos, row.neuron].detach().cpu()
        return value, value - self.moved[i]


@torch.no_grad()
def _changes(problem: Problem, gate: _Factor, factor: _Factor | None, i: int, row: Row) -> Float[Tensor, " source"]:
    if row is None:
        return gate.moved[i]
    act = activation_function(decoder_layers(problem.hf)[row.layer])
    (g, g_without), (u, u_without) = gate.ends(i, row), (1.0, 1.0) if factor is None else factor.ends(i, row)
    changed: Tensor = act(g) * u - act(g_without) * u_without
    return changed
