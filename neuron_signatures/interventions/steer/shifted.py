"""Many copies of one prompt per forward pass, each with another vector added to its residual stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.readout import pre_cap_logits
from neuron_signatures.interventions.copies import Predictions, predictions
from neuron_signatures.models.batching import BatchSize, run_in_passes, work_on
from neuron_signatures.models.capture import decoder_layers
from neuron_signatures.models.weights import unembedding

Vector = Float[Tensor, " d_model"]


class ShiftedCopies:
    """As `interventions.copies.Copies`: x + v at the output of `layer`, at `positions` up to the target's."""

    @torch.no_grad()
    def __init__(self, problem: Problem, layer: int, positions: Sequence[int], *, batch: int) -> None:
        self.problem, self._layer = problem, layer
        first = min(positions)
        self._suffix = problem.suffix(first=first)
        self._rows = [p - first for p in positions]
        self._size = BatchSize(batch)
        self._suffix.run(1, from_layer=layer)  # keeps the clean outputs of the layers below, before anything is hooked

    @torch.no_grad()
    def run(self, vectors: Iterable[Vector]) -> Iterator[tuple[Predictions, Predictions]]:
        """Predictions of the clean copy (one row) and of the next vectors, in order; one forward pass each."""
        work = work_on(self.problem.hf, "copies with a shifted residual stream", self.problem.token_ids)
        yield from run_in_passes(self._pass, vectors, size=self._size, unit="copies", work=work)

    def _pass(self, vectors: Sequence[Vector]) -> tuple[Predictions, Predictions]:
        shift = torch.stack([torch.zeros_like(vectors[0]), *vectors])[:, None]
        with shifted(self.problem.hf, self._layer, shift, self._rows):
            hidden = self._suffix.run(len(shift), from_layer=self._layer)
        logits = pre_cap_logits(unembedding(self.problem.hf), hidden)
        both = predictions(self.problem, logits, logits[0])
        return both[:1], both[1:]


@contextlib.contextmanager
def shifted(
    hf: PreTrainedModel, layer: int, shift: Float[Tensor, "*#batch d_model"], rows: Sequence[int] | None
) -> Iterator[None]:
    """Within the block, `shift` is added to the output of the layer at these rows of the sequence; None: all but the
    first."""

    def hook(_: object, args: Any, out: Tensor) -> Tensor:
        at = list(range(1, out.shape[1])) if rows is None else list(rows)
        out = out.clone()
        out[:, at] += shift.to(out)
        return out

    handle = decoder_layers(hf)[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
