"""The attribution problem: one prediction of a model, its target function, and the positions that are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.readout import function_value
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.suffix import Suffix
from neuron_signatures.models.weights import unembedding


@dataclass(frozen=True)
class Problem:
    """Which neurons of `hf`, at `positions` of the prompt `token_ids`, influence `target`.

    Baselines and scores have the shape [layer pos neuron]: one row per model layer (or per chosen layer), and one
    column per entry of `positions`. Positions are non-negative and not after the target position.
    """

    hf: PreTrainedModel
    token_ids: Sequence[int]
    target: Target
    positions: tuple[int, ...]

    def suffix(self, *, first: int = 0) -> Suffix:
        """The prompt from position `first` to the target position, ready for edited forward passes."""
        with memory_faults(work_on(self.hf, "the forward pass before the edited positions", self.token_ids)):
            return Suffix(self.hf, self.token_ids, first=first, last=self.target.pos)

    def value(self, hidden: Float[Tensor, "batch d_model"]) -> Float[Tensor, " batch"]:
        """The target function f for each row of the unembedding's input at the target position."""
        return function_value(unembedding(self.hf), hidden, self.target)
