"""The result of every metric: one score per layer, position and neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

Metric = Literal["dla", "dla_pre_ln2_post", "act_grad", "ig", "relp", "ablation"]


@dataclass(frozen=True)
class Attribution:
    """Influence of every neuron of `layers` at `positions` on the target function, float32 on the CPU.

    `acts` are the activations that the scores were computed from. `per_act` is the score per unit of activation
    (`w_to_logit` of dla, `grad` of act_grad and relp), None for the other metrics.
    """

    metric: Metric
    layers: tuple[int, ...]
    positions: tuple[int, ...]
    scores: Float[Tensor, "layer pos neuron"]
    acts: Float[Tensor, "layer pos neuron"]
    per_act: Float[Tensor, "layer pos neuron"] | None

    def sums(self) -> Float[Tensor, "layer pos"]:
        """Sum of the scores over the neurons of each layer."""
        return self.scores.double().sum(-1).to(self.scores.dtype)

    def absolute_sums(self) -> Float[Tensor, "layer pos"]:
        return self.scores.double().abs().sum(-1).to(self.scores.dtype)
