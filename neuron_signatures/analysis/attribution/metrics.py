"""The result of every metric: one score per layer, position and neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

Metric = Literal[
    "dla", "dla_pre_ln2_post", "act_grad", "ig", "relp", "prob_increase", "prob_increase_query", "ablation"
]


@dataclass(frozen=True)
class Attribution:
    """Influence of every neuron of `layers` at `positions` on the target function, float32 on the CPU.

    `scores` of estimators with a score per unit of activation (`per_act`: `w_to_logit` of dla, `grad` of act_grad and
    relp, `w_to_values` of prob_increase_query) are a·g; those of ig, prob_increase and ablation, whose `per_act` is
    None, are relative to the reference that they are given.
    `acts` are the activations that the scores were computed from.
    """

    metric: Metric
    layers: tuple[int, ...]
    positions: tuple[int, ...]
    scores: Float[Tensor, "layer pos neuron"]
    acts: Float[Tensor, "layer pos neuron"]
    per_act: Float[Tensor, "layer pos neuron"] | None


def attribution(
    metric: Metric, positions: tuple[int, ...], acts: Tensor, scores: Tensor, per_act: Tensor | None = None,
    layers: tuple[int, ...] | None = None,
) -> Attribution:  # fmt: skip
    """The result of a metric, converted to float32 on the CPU; `layers` None means all."""
    return Attribution(
        metric=metric,
        layers=tuple(range(len(acts))) if layers is None else layers,
        positions=positions,
        scores=scores.float().cpu(),
        acts=acts.float().cpu(),
        per_act=None if per_act is None else per_act.float().cpu(),
    )
