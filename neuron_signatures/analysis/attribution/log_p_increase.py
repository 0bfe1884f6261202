"""The log-probability increase of value neurons and the ranking of query neurons, at the positions of a problem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.estimators.prob_increase import prob_increase
from neuron_signatures.analysis.attribution.estimators.query_neurons import query_neurons, top_values
from neuron_signatures.analysis.attribution.metrics import Attribution, attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.models.weights import unembedding
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import ProgressOf

Acts = Float[Tensor, "layer prompt_pos neuron"]


class Increases(NamedTuple):
    """The scores that rank, those by the reference zero, and those by its `centred_on`: this metric is not linear in
    the activation, so none is a multiple of another."""

    attribution: Attribution
    zero: Float[Tensor, "layer pos neuron"]
    centred: Float[Tensor, "layer pos neuron"]
    facts: dict[str, Any]
    warnings: tuple[str, ...]


class Queries(NamedTuple):
    attribution: Attribution
    facts: dict[str, Any]
    warnings: tuple[str, ...]


def elsewhere(problem: Problem) -> list[str]:
    """A warning if positions are scored at which no neuron has a direct effect."""
    if problem.positions == (problem.target.pos,):
        return []
    return ["a direct effect exists at the target position only: elsewhere the score is 0"]


def increases(
    problem: Problem,
    acts: Acts,
    layers: Sequence[int] | None,
    reference: Reference,
    partial: Partial | None,
    progress: ProgressOf,
) -> Increases:
    """prob_increase of the neurons of `layers` (None: all), 0 at other positions than the target's.

    `acts` are the prompt's activations in all layers at all positions.
    """
    pos, positions, values = problem.target.pos, problem.positions, reference.values
    chosen = tuple(range(len(acts)) if layers is None else layers)
    at = acts[list(chosen)][:, list(positions)].float().cpu()
    zero, centred = torch.zeros_like(at), torch.full_like(at, torch.nan if values is None else 0.0)
    before: tuple[float, ...] = ()
    if pos in positions:
        here = positions.index(pos)
        held = None if values is None else values[:, here]
        found = prob_increase(problem, reference=held, layers=chosen, partial=partial, progress=progress)
        zero[:, here], centred[:, here], at[:, here], before = found.zero, found.centred, found.acts, found.log_p
    scores = zero if reference.is_zero else centred
    return Increases(
        Attribution("prob_increase", chosen, positions, scores, at, None), zero, centred,
        {"log_p_before": before, "additive": False},
        (*elsewhere(problem), *_other_function(problem), *_below_chance(problem, chosen, before)),
    )  # fmt: skip


def queries(problem: Problem, acts: Acts, values: Attribution, reference: Reference, n: int) -> Queries:
    """prob_increase_query over the first `n` neurons of prob_increase, whose result is `values`; 0 as above."""
    pos, positions = problem.target.pos, problem.positions
    at = acts[:, list(positions)].float().cpu()
    scores, per_act = torch.zeros_like(at), torch.zeros_like(at)
    chosen: list[dict[str, Any]] = []
    if pos in positions:
        here = positions.index(pos)
        top = top_values(values, reference.held(at)[list(values.layers), here], pos, n)
        found = query_neurons(problem, top)
        assert found.per_act is not None
        scores[:, here], per_act[:, here], at[:, here] = found.scores[:, 0], found.per_act[:, 0], found.acts[:, 0]
        chosen = [
            {"layer": layer, "neuron": neuron, "prob_increase": increase}
            for (layer, neuron), increase in zip(top.neurons.tolist(), top.increases.tolist(), strict=True)
        ]
    ranked = attribution("prob_increase_query", positions, at, scores, per_act)
    return Queries(ranked, {"value_neurons": chosen, "unit": "nats times activation"}, tuple(elsewhere(problem)))


def _below_chance(problem: Problem, layers: Sequence[int], log_p: Sequence[float]) -> list[str]:
    """A warning about layers before which the target is less likely than one token in the vocabulary."""
    chance = -math.log(len(unembedding(problem.hf).weight))
    low = sorted(layer for layer, value in zip(layers, log_p, strict=False) if value < chance)
    if problem.target.foil_id is not None or not low:
        return []
    where = f"in layer{'s' * (len(low) > 1)} {spans(low)}"
    return [
        f"{where} the stream before the MLP makes the target less likely than chance (log p < "
        f"{chance:.1f}): an increase there is mostly what other tokens lose"
    ]


def _other_function(problem: Problem) -> list[str]:
    if problem.target.function == "logprob":
        return []
    return [f"scores are of the log probability, not of the {problem.target.function}"]
