"""Influence on one target of one prompt: computes any metric, with the facts and warnings for its record.

dla is exact; docs/method.md says where the others are approximations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuron_signatures.analysis.attribution.baselines import Baselines, refuse_undefined
from neuron_signatures.analysis.attribution.estimators.ablation import STORED_LAYERS, every_neuron, single_ablations
from neuron_signatures.analysis.attribution.estimators.checkpoint import Partial
from neuron_signatures.analysis.attribution.estimators.dla import (
    at_positions,
    direct_logit_attribution,
    dla_without_norms,
)
from neuron_signatures.analysis.attribution.estimators.gradients import (
    IgPath,
    act_grad,
    cancellation,
    integrated_gradients,
    relp,
)
from neuron_signatures.analysis.attribution.metrics import Attribution, Metric
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.targets import resolve_pos
from neuron_signatures.runs.errors import UsageError

METRICS: tuple[Metric, ...] = ("dla", "dla_pre_ln2_post", "act_grad", "ig", "relp", "ablation")
ALL = "all"
# Metrics that are differences of two forward passes: bfloat16 would round most of them to 0.
NEED_FLOAT32: tuple[Metric, ...] = ("ablation",)
DIRECT: tuple[Metric, ...] = ("dla", "dla_pre_ln2_post")

# Called with the unit and the number of steps; returns a context manager whose value has `advance(n)`.
ProgressOf = Callable[[str, int], Any]


@dataclass(frozen=True)
class InfluenceSettings:
    """How the metrics are computed. `ctx` is a position (may be negative), "all", or None for the target's;
    `act_grad_source` is a baseline to patch in instead of scaling; `layers` None means all; `candidates` are
    (layer, neuron) pairs for ablation, None for every neuron."""

    ctx: int | str | None
    ig_steps: int
    ig_baseline: str
    ig_path: IgPath
    act_grad_source: str | None
    ablate_with: str
    ablation_batch: int
    layers: tuple[int, ...] | None
    candidates: tuple[tuple[int, int], ...] | None


@dataclass(frozen=True)
class Influence:
    """One metric's scores, with how they were computed (`facts`) and warnings, both for the record."""

    attribution: Attribution
    facts: dict[str, Any]
    warnings: tuple[str, ...]


def influence(
    metric: Metric,
    problem: Problem,
    acts: Float[Tensor, "layer prompt_pos neuron"],
    settings: InfluenceSettings,
    *,
    baseline: Float[Tensor, "layer pos neuron"] | None,
    partial: Partial | None,
    progress: ProgressOf,
) -> Influence:
    """The influence of every neuron (ablation: of the candidates, NaN for others) at the problem's positions.

    `acts` are the prompt's activations in all layers at all positions; `baseline` is that of `metric_baseline`.
    `partial` stores the progress of an ablation; the other metrics do not need it.
    """
    if metric in DIRECT:
        return _direct(metric, problem, acts)
    if metric == "ig":
        assert baseline is not None
        s = settings
        found = integrated_gradients(problem, baseline=baseline, layers=s.layers, steps=s.ig_steps, path=s.ig_path)
        return Influence(found, {"ig_steps": s.ig_steps, "baseline": s.ig_baseline, "path": s.ig_path}, ())
    if metric == "ablation":
        assert baseline is not None and partial is not None
        return _ablated(problem, acts, settings, baseline, partial, progress)
    if metric == "relp":
        return Influence(relp(problem), {}, ())
    scores = act_grad(problem, source=baseline)
    if baseline is not None:
        return Influence(scores, {"source": settings.act_grad_source}, ())
    sums = cancellation(scores)
    ratios = [c.ratio for c in sums if c.ratio is not None]
    cancels = "act_grad cancels within every layer (a norm follows the MLP): its shares are not shares of the logit"
    return Influence(scores, {"cancellation": sums}, (cancels,) if ratios and max(ratios) < 0.05 else ())


def metric_baseline(
    metric: Metric, settings: InfluenceSettings, baselines: Baselines
) -> Float[Tensor, "layer pos neuron"] | None:
    """The baseline of the metric (of act_grad: what it patches in); None if it has none.

    Raises `UsageError` if the baseline is not finite for every neuron that the metric needs.
    """
    if metric == "ig":
        next_step = STORED_LAYERS.replace("--ablate_with", "--baseline")
        values = baselines.values(settings.ig_baseline)
        needed = values if settings.layers is None else values[list(settings.layers)]
    elif metric == "ablation":
        next_step = STORED_LAYERS
        values = needed = baselines.values(settings.ablate_with)
        if settings.candidates is not None:
            layers, neurons = map(list, zip(*settings.candidates, strict=True))
            needed = values[layers, :, neurons]
        elif settings.layers is not None:
            needed = values[list(settings.layers)]
    elif metric == "act_grad" and settings.act_grad_source is not None:
        next_step = "A mean needs every layer stored: use --act_grad_source zero or prompt:ID"
        values = needed = baselines.values(settings.act_grad_source)
    else:
        return None
    refuse_undefined(needed, where=metric, next_step=next_step)
    return values


def positions_of(ctx: int | str | None, seq_len: int, target_pos: int) -> tuple[int, ...]:
    """The positions to score. Raises `UsageError` for one outside the prompt or after the target position."""
    if ctx is None:
        return (target_pos,)
    if ctx == ALL:
        return tuple(range(target_pos + 1))
    pos = resolve_pos(int(ctx), seq_len, where="--ctx_idx")
    if pos > target_pos:
        raise UsageError(
            f"{pos} comes after the target position, {target_pos}: nothing there has influence", where="--ctx_idx"
        )
    return (pos,)


def _direct(metric: Metric, problem: Problem, acts: Float[Tensor, "layer prompt_pos neuron"]) -> Influence:
    target, positions = problem.target, problem.positions
    warnings = []
    if positions != (target.pos,):
        warnings.append("a direct effect exists at the target position only: elsewhere the score is 0")
    if target.function != "pre_cap_logit":
        warnings.append(f"dla is of the pre-cap logit, not of the {target.function}")
    if metric == "dla_pre_ln2_post":
        warnings.append("an approximation without the norms: scores have no unit and do not compare across layers")
        return Influence(at_positions(dla_without_norms(problem), positions, acts), {}, tuple(warnings))
    found = direct_logit_attribution(problem)
    scores = at_positions(found.attribution, positions, acts)
    return Influence(scores, {"completeness": found.completeness}, tuple(warnings))


def _ablated(
    problem: Problem,
    acts: Float[Tensor, "layer prompt_pos neuron"],
    settings: InfluenceSettings,
    baseline: Float[Tensor, "layer pos neuron"],
    partial: Partial,
    progress: ProgressOf,
) -> Influence:
    """Ablate every candidate; `partial` stores the finished ones, so that an interrupted run can resume."""
    layers = tuple(range(len(acts))) if settings.layers is None else settings.layers
    neurons = every_neuron(problem.hf, layers=layers, positions=problem.positions)
    values = baseline[list(layers)].reshape(-1)
    wanted = _wanted(neurons, settings.candidates)
    effects = torch.full((len(neurons),), torch.nan)
    done = partial.load(effects)
    todo = single_ablations(problem, neurons, values=values, done=done | ~wanted, batch=settings.ablation_batch)
    with progress("ablations", int(wanted.sum())) as bar, partial.save_on_error(effects, done):
        for chunk in todo:
            effects[chunk.rows] = chunk.effects
            done[chunk.rows] = True
            partial.save(effects, done)
            bar.advance(len(chunk.rows))
    scored = acts[list(layers)][:, list(problem.positions)]
    facts = {"ablate_with": settings.ablate_with, "n_ablated": int(wanted.sum())}
    scores = Attribution("ablation", layers, problem.positions, effects.view(scored.shape), scored, None)
    return Influence(scores, facts, ())


def _wanted(neurons: Int[Tensor, "n 3"], candidates: Sequence[tuple[int, int]] | None) -> Bool[Tensor, " n"]:
    if candidates is None:
        return torch.ones(len(neurons), dtype=torch.bool)
    width = int(neurons[:, 2].max()) + 1
    chosen = torch.tensor([layer * width + neuron for layer, neuron in candidates])
    return torch.isin(neurons[:, 0] * width + neurons[:, 2], chosen)
