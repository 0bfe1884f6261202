"""Relevance of every neuron for the target over all paths (RelP, arXiv 2508.21258).

    score = (a - ā) ∂f/∂a

with the rules of `models.relevance`. In terms of direct edges E by the reference 0,

    score_s = E_sf + Σ_t E_st · score_t / a_t

over all neurons t, and the scores of the embeddings and biases sum to f.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.readout import target_bias
from neuron_signatures.circuits.tracing.passes import ruled_pass
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import output_projections
from neuron_signatures.models.weights import output_weight, unembedding


@dataclass(frozen=True)
class Relevance:
    """Float32 on the CPU. Embeddings and biases are not centred; with the unembedding's bias they sum to `value`."""

    neurons: Float[Tensor, "layer pos neuron"]
    """(a - ā) ∂f/∂a."""
    embeddings: Float[Tensor, " pos"]
    biases: Float[Tensor, "layer pos"]
    """Of all biases of the layer; the final norm's and the unembedding's are in the last layer's target position."""
    acts: Float[Tensor, "layer pos neuron"]
    value: float
    """The target function."""


def relevance(problem: Problem, reference: Float[Tensor, "layer pos neuron"]) -> Relevance:
    """Relevance at every position up to the target's, `reference` being ā. One forward and one backward pass.

    Raises `UsageError` as `incoming` does.
    """
    with memory_faults(work_on(problem.hf, "relevance", problem.token_ids)), ruled_pass(problem) as found:
        sources = [*found.outputs, found.scales.embedding, *found.scales.biases]
        grads = torch.autograd.grad(found.value, sources, allow_unused=True, materialize_grads=True)
    acts = found.plain_acts()
    change = acts - reference.to(acts)
    n = found.n_layers
    scores = [
        (g.reshape(found.n_pos, -1) @ output_weight(projection).T.to(g)).to(acts.device) * change[layer]
        for layer, (g, projection) in enumerate(zip(grads[:n], output_projections(problem.hf), strict=True))
    ]
    biases = torch.stack([g.cpu() for g in grads[n + 1 :]]).float()
    biases[-1, -1] += target_bias(unembedding(problem.hf), problem.target)
    return Relevance(
        neurons=torch.stack(scores).float().cpu(),
        embeddings=grads[n].float().cpu(),
        biases=biases,
        acts=acts.float().cpu(),
        value=float(found.value.detach()),
    )
