"""Direct edges into neurons and into the target, with the half rule (arXiv 2601.22594).

    E_st = (a_s - ā_s) ∂ã_t/∂a_s

The scales of all norms and the attention patterns are constant, and every neuron is cut at its output projection, so
that an edge passes through no other neuron. ã is the activation with act(z) = z · const and, in a gated MLP, the
gradient of the product halved. Everything that a row reads then sums to the row's value.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.readout import target_bias
from neuron_signatures.circuits.tracing.batches import DEFAULT_MEMORY, Derivatives, derivatives
from neuron_signatures.circuits.tracing.columns import Columns
from neuron_signatures.circuits.tracing.passes import Pass, cut_pass
from neuron_signatures.circuits.types import Incoming, NeuronAt, Row
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import output_projections
from neuron_signatures.models.weights import output_weight, unembedding
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.progress import ProgressOf, silent

_TOLERANCE = 1e-3
"""Largest accepted error of the sum of a row, as a share of Σ|E|: rounding only."""


def incoming(
    problem: Problem,
    rows: Sequence[Row],
    columns: Sequence[NeuronAt],
    reference: Float[Tensor, "layer pos neuron"],
    *,
    memory: int = DEFAULT_MEMORY,
    progress: ProgressOf = silent,
) -> Incoming:
    """Direct edges into `rows` from `columns`, embeddings, the rest and the constant.

    `reference` is ā at every position up to the target's. `memory` is in bytes and bounds a batch of rows; the forward
    pass and its graph come on top. Raises `UsageError` for another target function than the pre-cap logit, a model that
    is not in float32, and one whose parts do not sum to the row.
    """
    work = work_on(problem.hf, "tracing edges", problem.token_ids)
    with memory_faults(work), cut_pass(problem) as found, progress("rows", len(rows)) as bar:
        sums = _Sums(found, rows, columns, reference)
        for batch in derivatives(found, rows, memory=memory):
            sums.add(batch)
            bar.advance(len(batch.numbers))
    return sums.finished()


class _Sums:
    """The rows of `Incoming`, filled batch by batch."""

    def __init__(self, found: Pass, rows: Sequence[Row], columns: Sequence[NeuronAt], reference: Tensor) -> None:
        acts = found.plain_acts()
        assert reference.shape == acts.shape, (reference.shape, acts.shape)
        self._found, self._columns = found, Columns(columns)
        self._low = reference.to(acts)
        self._change = acts - self._low
        self._weights = [output_weight(p) for p in output_projections(found.problem.hf)]
        n = len(rows)
        self._neurons = torch.zeros(n, len(columns))
        self._embeddings = torch.zeros(n, found.n_pos)
        self._rest = torch.zeros(n, found.n_layers, found.n_pos)
        self._constant, self._absolute = torch.zeros(n), torch.zeros(n)
        self._value = torch.stack([found.value.detach() if r is None else acts[r] for r in rows]).float().cpu()
        bias = target_bias(unembedding(found.problem.hf), found.problem.target)
        self._own = torch.tensor([bias if r is None else 0.0 for r in rows])

    def add(self, batch: Derivatives) -> None:
        index = torch.tensor(batch.numbers)
        self._embeddings[index] = batch.embeddings.float()
        self._rest[index] = batch.biases.float()
        self._absolute[index] = batch.embeddings.abs().sum(1).float() + batch.biases.abs().sum((1, 2)).float()
        for layer, pulled in enumerate(batch.outputs):
            self._add_layer(index, layer, pulled)

    def _add_layer(self, index: Tensor, layer: int, pulled: Float[Tensor, "row pos d_model"]) -> None:
        by_neuron = pulled @ self._weights[layer].T.to(pulled)  # ∂ã_t/∂a_s
        self._constant[index] += (by_neuron * self._low[layer].to(by_neuron)).sum((1, 2)).float().cpu()
        edges = by_neuron.mul_(self._change[layer].to(by_neuron))
        self._rest[index, layer] += self._columns.take(edges, layer, self._neurons, index)
        self._absolute[index] += edges.abs().sum((1, 2)).float().cpu()

    def finished(self) -> Incoming:
        self._rest[:, -1, -1] += self._own
        absolute = self._absolute + self._constant.abs() + self._own.abs()
        parts = (self._neurons, self._embeddings, self._rest.flatten(1), self._constant[:, None])
        total = sum((p.double().sum(1) for p in parts), start=torch.zeros(len(self._value), dtype=torch.float64))
        error = float(((total - self._value).abs() / absolute.clamp_min(1e-30)).max()) if len(total) else 0.0
        if not error <= _TOLERANCE:
            raise UsageError(
                f"direct edges do not sum to what they lead into (off by {error:.2g} of the sum of their sizes)",
                where=type(self._found.problem.hf).__name__,
                next_step="This architecture is not supported for circuits",
            )
        return Incoming(
            neurons=self._neurons,
            embeddings=self._embeddings,
            rest=self._rest,
            constant=self._constant,
            absolute=absolute,
            value=self._value,
        )
