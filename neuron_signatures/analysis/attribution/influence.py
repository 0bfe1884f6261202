"""Influence on one target of one prompt: computes any metric, with the facts and warnings for its record.

dla is exact; docs/method.md says where the others are approximations.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuron_signatures.analysis.attribution.ablated import SingleAblations
from neuron_signatures.analysis.attribution.estimators.ablation import STORED_LAYERS, every_neuron
from neuron_signatures.analysis.attribution.estimators.dla import (
    at_positions,
    direct_logit_attribution,
    dla_without_norms,
    with_reference,
)
from neuron_signatures.analysis.attribution.estimators.gradients import (
    IG_TOLERANCE,
    IgPath,
    PathSum,
    act_grad,
    cancellation,
    integrated_gradients,
    relp,
)
from neuron_signatures.analysis.attribution.log_p_increase import elsewhere, increases, queries
from neuron_signatures.analysis.attribution.metrics import Attribution, Metric
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import Reference, refuse_undefined
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.attribution.targets import resolve_pos
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import ProgressOf

log = logging.getLogger(__name__)

METRICS: tuple[Metric, ...] = (
    "dla", "dla_pre_ln2_post", "act_grad", "ig", "relp", "prob_increase", "prob_increase_query", "ablation",
)  # fmt: skip
ALL = "all"
# Differences of two forward passes are in these or in their record: bfloat16 would round most of them to 0.
NEED_FLOAT32: tuple[Metric, ...] = ("ig", "ablation")
DIRECT: tuple[Metric, ...] = ("dla", "dla_pre_ln2_post")
OF_LOG_P: tuple[Metric, ...] = ("prob_increase", "prob_increase_query")
# Those that `--layers` restricts; of prob_increase_query it restricts the value neurons.
SOME_LAYERS: tuple[Metric, ...] = ("ig", "prob_increase", "ablation")


@dataclass(frozen=True)
class InfluenceSettings:
    """How the metrics are computed. `ctx` is a position (may be negative), "all", or None for the target's; `layers`
    None means all; `candidates` are (layer, neuron) pairs for ablation, None for every neuron; `value_neurons` is their
    number for prob_increase_query."""

    ctx: int | str | None
    ig_steps: int
    ig_max_steps: int
    ig_path: IgPath
    ablation_batch: int
    layers: tuple[int, ...] | None
    candidates: tuple[tuple[int, int], ...] | None
    value_neurons: int


@dataclass(frozen=True)
class Influence:
    """One metric's scores, with how they were computed (`facts`) and warnings, both for the record.

    The scores of `attribution` are those by the command's reference, which rank and are validated. `zero` are the
    scores by the reference zero and `centred` those by the reference's `centred_on`; NaN where a metric has only one.
    """

    attribution: Attribution
    zero: Float[Tensor, "layer pos neuron"]
    centred: Float[Tensor, "layer pos neuron"]
    facts: dict[str, Any]
    warnings: tuple[str, ...]


def influence(
    metric: Metric,
    problem: Problem,
    acts: Float[Tensor, "layer prompt_pos neuron"],
    settings: InfluenceSettings,
    *,
    reference: Reference,
    partial: Partial | None,
    progress: ProgressOf,
    values: Attribution | None = None,
) -> Influence:
    """The influence of every neuron (ablation: of the candidates, NaN for others) at the problem's positions.

    Positive where the neuron's value supports the target. `acts` are the prompt's activations in all layers at all
    positions. `partial` stores the progress of ig, prob_increase and ablation, so that they can resume; None stores
    nothing. `values` is the result of prob_increase, which prob_increase_query needs.
    """
    if metric == "prob_increase":
        own = increases(problem, acts, settings.layers, reference, partial, progress)
        return Influence(*own[:4], (*own.warnings, *_unstored(own.centred, reference)))
    if metric in DIRECT:
        found = _direct(metric, problem, acts, reference)
    elif metric == "ig":
        found = _integrated(problem, acts, settings, reference, partial, progress)
    elif metric == "ablation":
        assert partial is not None
        found = _ablated(problem, acts, settings, reference, partial, progress)
    elif metric == "prob_increase_query":
        assert values is not None
        found = _Found(*queries(problem, acts, values, reference, settings.value_neurons))
    elif metric == "relp":
        found = _Found(relp(problem), {}, ())
    else:
        found = _act_grad(problem, reference)
    return _by_reference(found, reference)


def not_comparable(metric: Metric, target: Target) -> str | None:
    """Why the scores of a metric are not compared with effects of ablations on the target function; None if they are.

    An effect on the log probability is not one on a logit, and no scale factor makes it one.
    """
    if metric == "prob_increase" and target.function != "logprob":
        return f"it is of the log probability, the effects are of the {target.function}: use --function logprob"
    if metric == "prob_increase_query":
        return "its scores are no effects on the target function"
    return None


class _Found(NamedTuple):
    attribution: Attribution
    facts: dict[str, Any]
    warnings: tuple[str, ...]


def _by_reference(found: _Found, reference: Reference) -> Influence:
    scores = found.attribution.scores
    undefined = torch.full_like(scores, torch.nan)
    if found.attribution.per_act is None:  # ig and ablation are computed by one reference only
        zero, centred = (scores, undefined) if reference.is_zero else (undefined, scores)
        return Influence(found.attribution, zero, centred, found.facts, found.warnings)
    centred = reference.centred(found.attribution)
    chosen = replace(found.attribution, scores=scores if reference.is_zero else centred)
    return Influence(chosen, scores, centred, found.facts, (*found.warnings, *_unstored(centred, reference)))


def _unstored(centred: Float[Tensor, "layer pos neuron"], reference: Reference) -> tuple[str, ...]:
    n = int(torch.isnan(centred).flatten(1).all(1).sum())
    if reference.is_zero or not n:
        return ()
    return (f"{n} layers have no {reference.name} because the run does not store them: their neurons are not ranked",)


def refuse_undefined_reference(metric: Metric, settings: InfluenceSettings, values: Tensor) -> None:
    """Raise `UsageError` if the reference is not finite for every neuron that ig or ablation sets to it."""
    needed = values if settings.layers is None else values[list(settings.layers)]
    if metric == "ablation" and settings.candidates is not None:
        layers, neurons = map(list, zip(*settings.candidates, strict=True))
        needed = values[layers, :, neurons]
    refuse_undefined(needed, where=metric, next_step=STORED_LAYERS)


def positions_of(ctx: int | str | None, seq_len: int, target_pos: int) -> tuple[int, ...]:
    """The positions to score; "all" are those up to the target but the first, which has massive activations.

    Raises `UsageError` for a position outside the prompt or after the target position.
    """
    if ctx is None:
        return (target_pos,)
    if ctx == ALL:
        return tuple(range(1, target_pos + 1)) or (0,)
    pos = resolve_pos(int(ctx), seq_len, where="--ctx_idx")
    if pos > target_pos:
        raise UsageError(
            f"{pos} comes after the target position, {target_pos}: nothing there has influence", where="--ctx_idx"
        )
    return (pos,)


def _direct(
    metric: Metric, problem: Problem, acts: Float[Tensor, "layer prompt_pos neuron"], reference: Reference
) -> _Found:
    target, positions = problem.target, problem.positions
    warnings = elsewhere(problem)
    if target.function != "pre_cap_logit":
        warnings.append(f"dla is of the pre-cap logit, not of the {target.function}")
    if metric == "dla_pre_ln2_post":
        warnings.append("an approximation without the norms: scores have no unit and do not compare across layers")
        return _Found(at_positions(dla_without_norms(problem), positions, acts), {}, tuple(warnings))
    found = direct_logit_attribution(problem)
    completeness = found.completeness
    if reference.values is not None and target.pos in positions:
        completeness = with_reference(found, reference.values[:, positions.index(target.pos)])
    scores = at_positions(found.attribution, positions, acts)
    return _Found(scores, {"completeness": completeness}, tuple(warnings))


def _act_grad(problem: Problem, reference: Reference) -> _Found:
    found = act_grad(problem)
    sums = cancellation(found)
    ratios = [c.ratio for c in sums if c.ratio is not None]
    cancels = "act_grad cancels within every layer (a norm follows the MLP): its shares are not shares of the logit"
    warnings = (cancels,) if reference.is_zero and ratios and max(ratios) < 0.05 else ()
    return _Found(found, {"cancellation": sums}, warnings)


def _integrated(
    problem: Problem,
    acts: Float[Tensor, "layer prompt_pos neuron"],
    s: InfluenceSettings,
    reference: Reference,
    partial: Partial | None,
    progress: ProgressOf,
) -> _Found:
    found = integrated_gradients(
        problem, reference=reference.held(acts[:, list(problem.positions)]), layers=s.layers, steps=s.ig_steps,
        max_steps=s.ig_max_steps, path=s.ig_path, partial=partial, progress=progress,
    )  # fmt: skip
    off = [x for x in found.sums if not x.converged]
    warnings = [_not_converged(off, len(found.sums))] if off else []
    return _Found(found.attribution, {"path": s.ig_path, "path_sums": found.sums}, tuple(warnings))


def _not_converged(off: Sequence[PathSum], n_paths: int) -> str:
    worst = max(off, key=lambda x: abs(x.difference - x.total))
    layers = "" if len(worst.layers) > 1 or n_paths == 1 else f" in layer {worst.layers[0]}"
    many = f" ({len(off)} of {n_paths} layers are off by more than {IG_TOLERANCE:.0%})" if n_paths > 1 else ""
    return (
        f"the scores sum to {worst.total:.3g}{layers}, but f changes by {worst.difference:.3g} on the path, with "
        f"{worst.steps} steps{many}: a score is not a share of that change. Try a larger ig_max_steps, or another "
        "reference"
    )


def _ablated(
    problem: Problem,
    acts: Float[Tensor, "layer prompt_pos neuron"],
    settings: InfluenceSettings,
    reference: Reference,
    partial: Partial,
    progress: ProgressOf,
) -> _Found:
    """Ablate every candidate; `partial` stores the finished ones, so that an interrupted run can resume."""
    layers = ablated_layers(acts, settings)
    scored = acts[list(layers)][:, list(problem.positions)]
    ablations = ablations_of(problem, acts, settings, reference)
    effects = ablations.measure(partial, progress)
    scores = Attribution("ablation", layers, problem.positions, effects.view(scored.shape), scored, None)
    return _Found(scores, {"n_ablated": int(ablations.wanted.sum())}, ())


def ablations_of(
    problem: Problem,
    acts: Float[Tensor, "layer prompt_pos neuron"],
    settings: InfluenceSettings,
    reference: Reference,
) -> SingleAblations:
    """The ablations of the metric `ablation`: of every candidate at every position of the problem."""
    layers = list(ablated_layers(acts, settings))
    neurons = every_neuron(problem.hf, layers=layers, positions=problem.positions)
    values = reference.held(acts[:, list(problem.positions)])[layers].reshape(-1)
    wanted = _wanted(neurons, settings.candidates)
    return SingleAblations(problem, neurons, wanted, values, settings.ablation_batch)


def ablated_layers(acts: Float[Tensor, "layer prompt_pos neuron"], settings: InfluenceSettings) -> tuple[int, ...]:
    """The layers whose neurons are ablated."""
    return tuple(range(len(acts))) if settings.layers is None else settings.layers


def _wanted(neurons: Int[Tensor, "n 3"], candidates: Sequence[tuple[int, int]] | None) -> Bool[Tensor, " n"]:
    if candidates is None:
        return torch.ones(len(neurons), dtype=torch.bool)
    width = int(neurons[:, 2].max()) + 1
    chosen = torch.tensor([layer * width + neuron for layer, neuron in candidates])
    return torch.isin(neurons[:, 0] * width + neurons[:, 2], chosen)
