"""Exact direct logit attribution: what each neuron writes into the pre-cap logit, and the check that it sums up.

Elhage et al. 2021 and arXiv 2211.00593, with the norms' scales frozen at their values in this forward pass:

    D_i = a_i · z(g ⊙ W_out[i]),   z(c) = final_norm(c) · (U[:, target] - U[:, foil])

g is the norm on the MLP's output in sandwich-norm models (Gemma-2, Gemma-3), else 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.estimators.memory import with_memory_faults
from neuron_signatures.analysis.attribution.metrics import Attribution, Metric, attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.readout import target_bias, target_direction
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.models.capture import output_projections
from neuron_signatures.models.norms import FrozenNorm
from neuron_signatures.models.residual import trace_residual
from neuron_signatures.models.weights import output_bias, output_weight, unembedding


@dataclass(frozen=True)
class Completeness:
    """All terms of the pre-cap logit (with a foil: of the difference), in logits.

    `neurons` and `mlp_bias` of a layer add up to what its MLP writes. `reference` is the part of `neurons` that the
    reference activations would write, and `neurons_centred` the rest, the sum of (a - ā)·g; both are None without a
    reference at the target position, and NaN in layers where it is not known. `constants` come from the biases of the
    final norm and of the unembedding. `total` is the sum of all terms and `logit` the model's own value;
    `relative_error` is |total - logit| / |logit|, None if the logit is 0.
    """

    embed: float
    attn: tuple[float, ...]
    neurons: tuple[float, ...]
    mlp_bias: tuple[float, ...]
    constants: float
    total: float
    logit: float
    absolute_error: float
    relative_error: float | None
    reference: tuple[float, ...] | None = None
    neurons_centred: tuple[float, ...] | None = None


class Dla(NamedTuple):
    attribution: Attribution
    completeness: Completeness


@with_memory_faults("dla")
def direct_logit_attribution(problem: Problem) -> Dla:
    """Pre-cap logit of the target (minus the foil's) written directly by each neuron at the target position.

    Exact with the norms' scales frozen at their values in this pass: the scores, the embedding, attention and the
    biases sum to the logit. The result is at the target position only, whatever the problem's positions: the direct
    effect is zero elsewhere (see `at_positions`). `target.function` is ignored: only the pre-cap logit is a sum.
    """
    hf, target = problem.hf, problem.target
    trace = trace_residual(hf, problem.token_ids, target.pos)
    head = unembedding(hf)
    to_logit = target_direction(head, target).to(trace.final)
    direction = trace.final_norm.pull_back(to_logit)
    constants = float(trace.final_norm.form.bias @ to_logit) + target_bias(head, target)
    weights, biases = [], []
    for projection, norm in zip(output_projections(hf), trace.post_mlp, strict=True):
        read = norm.pull_back(direction) if norm is not None else direction
        weight = output_weight(projection)
        weights.append((weight @ read.to(weight.device)).to(read.device))
        biases.append(_bias_term(output_bias(projection), norm, read, direction))
    scores = _at_target("dla", trace.acts, torch.stack(weights), target)
    neurons = scores.scores[:, 0].double().sum(-1).tolist()
    attn = (trace.attn @ direction).tolist()
    embed = float(trace.embed @ direction)
    total = embed + sum(attn) + sum(neurons) + sum(biases) + constants
    logit = float(trace.hidden @ to_logit) + target_bias(head, target)
    error = abs(total - logit)
    relative = error / abs(logit) if logit else None
    return Dla(
        scores,
        Completeness(embed, tuple(attn), tuple(neurons), tuple(biases), constants, total, logit, error, relative),
    )


def with_reference(found: Dla, values: Float[Tensor, "layer neuron"]) -> Completeness:
    """The completeness with what the reference activations `values` at the target position write, per layer."""
    per_act = found.attribution.per_act
    assert per_act is not None
    written = (values.double() * per_act[:, 0].double()).sum(-1).tolist()
    rest = [n - r for n, r in zip(found.completeness.neurons, written, strict=True)]
    return replace(found.completeness, reference=tuple(written), neurons_centred=tuple(rest))


@with_memory_faults("dla_pre_ln2_post")
def dla_without_norms(problem: Problem) -> Attribution:
    """The approximation `dla_pre_ln2_post` of earlier code: a_i · ⟨W_out[i], w ⊙ (U[:, target] - U[:, foil])⟩.

    w is the weight of the final norm, which that code had folded into the unembedding. The approximation omits the norm
    on the MLP's output, the scale of the final norm, and a LayerNorm's centring. Its scores are therefore not in logits
    and not comparable across layers; on sandwich-norm models even the order within a layer changes.
    """
    hf, target = problem.hf, problem.target
    trace = trace_residual(hf, problem.token_ids, target.pos)
    direction = target_direction(unembedding(hf), target).to(trace.final) * trace.final_norm.form.weight
    weights = []
    for projection in output_projections(hf):
        weight = output_weight(projection)
        weights.append((weight @ direction.to(weight)).to(direction))
    return _at_target("dla_pre_ln2_post", trace.acts, torch.stack(weights), target)


def at_positions(
    direct: Attribution, positions: tuple[int, ...], acts: Float[Tensor, "layer pos neuron"]
) -> Attribution:
    """The direct attribution at `positions`: 0 except at the target position, the only one that is read out.

    `acts` are the prompt's activations in all layers at all positions.
    """
    (target_pos,) = direct.positions
    assert direct.per_act is not None
    here = torch.tensor([p == target_pos for p in positions])[:, None]
    chosen = acts[list(direct.layers)][:, list(positions)].to(direct.scores)
    return replace(
        direct,
        positions=positions,
        scores=torch.where(here, direct.scores, 0.0),
        acts=torch.where(here, direct.acts, chosen),
        per_act=torch.where(here, direct.per_act, 0.0),
    )


def _bias_term(bias: Tensor | None, norm: FrozenNorm | None, read: Tensor, direction: Tensor) -> float:
    """What the biases of the projection and of the norm after it write."""
    of_projection = 0.0 if bias is None else float(bias.to(read) @ read)
    return of_projection + (0.0 if norm is None else float(norm.form.bias.to(direction) @ direction))


def _at_target(
    metric: Metric, acts: Float[Tensor, "layer neuron"], per_act: Float[Tensor, "layer neuron"], target: Target
) -> Attribution:
    acts, per_act = acts.float()[:, None], per_act.float()[:, None]
    return attribution(metric, (target.pos,), acts, acts * per_act, per_act)
