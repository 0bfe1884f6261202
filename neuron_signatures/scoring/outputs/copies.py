"""Copies of one text in a batch, each with one edited neuron: next-token probabilities and continuations.

The edits are those of stage 3 (`interventions.edits`) at every position but the first, in plain forward passes: the
first position carries massive activations. A test compares them with the hooks of stage 3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache

from neuron_signatures.analysis.attribution.readout import capped, pre_cap_logits
from neuron_signatures.interventions.changes import changed
from neuron_signatures.interventions.edits import Edit
from neuron_signatures.models.batching import BatchSize, run_in_halves, work_on
from neuron_signatures.models.capture import backbone, output_projections
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.weights import unembedding


@dataclass(frozen=True)
class CopyEdit:
    """The activation a of a neuron becomes factor·a + offset: 0 and a value set it, 1 and a value steer it."""

    neuron: int
    factor: float = 1.0
    offset: float = 0.0

    @classmethod
    def ablate(cls, neuron: int, reference: float) -> CopyEdit:
        return cls(neuron, 0.0, reference)

    @classmethod
    def steer(cls, neuron: int, amount: float) -> CopyEdit:
        return cls(neuron, 1.0, amount)

    @classmethod
    def none(cls) -> CopyEdit:
        """The copy stays as it is."""
        return cls(0)

    def as_edit(self, layer: int, n_positions: int) -> Edit:
        """The same edit of stage 3, at positions 1 to `n_positions` - 1."""
        assert self.factor in (0.0, 1.0)
        kind = "add" if self.factor else "ablate"
        return Edit(layer, (self.neuron,), tuple(range(1, n_positions)), kind, self.offset)  # type: ignore[arg-type]


class EditedCopies:
    """`token_ids` is what the model reads, with its BOS if it has one."""

    def __init__(self, model: LoadedModel, token_ids: tuple[int, ...], layer: int, size: BatchSize) -> None:
        self._model, self._ids, self._layer, self._size = model, token_ids, layer, size
        self._body, self._head = backbone(model.hf), unembedding(model.hf)
        self._projection = output_projections(model.hf)[layer]

    def logprobs(self, edits: Sequence[CopyEdit]) -> Float[Tensor, "copy vocab"]:
        """Log-probabilities (nats) of the next token in each copy, float32 on the CPU."""
        return torch.cat(self._in_halves(lambda some: self._next(self._hidden(some)).cpu(), edits))

    def continuations(self, edits: Sequence[CopyEdit], n_tokens: int) -> list[list[int]]:
        """The `n_tokens` most likely tokens of each copy, one after the other, fewer after an end token (included).

        The edit holds at new tokens too.
        """
        found = self._in_halves(lambda some: self._continued(some, n_tokens), edits)
        return [ids for some in found for ids in some]

    def _in_halves(self, run: Callable[[list[CopyEdit]], Any], edits: Sequence[CopyEdit]) -> list[Any]:
        def part(indices: Sequence[int]) -> Any:
            return run([edits[i] for i in indices])

        with torch.inference_mode():
            work = work_on(self._model.hf, "edited copies", self._ids)
            return list(run_in_halves(part, range(len(edits)), size=self._size, unit="copies", work=lambda _: work))

    def _hidden(self, edits: list[CopyEdit]) -> Float[Tensor, "copy d_model"]:
        with self._edited(edits):
            ids = self._prompt(len(edits))
            hidden: Tensor = self._body(input_ids=ids, use_cache=False).last_hidden_state
        return hidden[:, -1]

    def _continued(self, edits: list[CopyEdit], n_tokens: int) -> list[list[int]]:
        n, end = len(edits), self._model.tokenizer.eos_token_id
        cache = DynamicCache(config=self._body.config)
        new: list[list[int]] = [[] for _ in range(n)]
        ended = [False] * n
        ids = self._prompt(n)
        with self._edited(edits):
            for _ in range(n_tokens):
                out = self._body(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
                ids = self._next(out).argmax(-1, keepdim=True)
                for row, token in enumerate(ids[:, 0].tolist()):
                    if not ended[row]:
                        new[row].append(int(token))
                        ended[row] = token == end
                if all(ended):
                    break
                ids = ids.to(self._model.device)
        return new

    def _prompt(self, n: int) -> Int[Tensor, "copy pos"]:
        return torch.tensor([list(self._ids)], device=self._model.device).expand(n, -1)

    def _next(self, hidden: Float[Tensor, "copy d_model"]) -> Float[Tensor, "copy vocab"]:
        return capped(self._head, pre_cap_logits(self._head, hidden)).log_softmax(-1)

    @contextlib.contextmanager
    def _edited(self, edits: list[CopyEdit]) -> Iterator[None]:
        handle = self._projection.register_forward_pre_hook(_hook(edits))
        try:
            yield
        finally:
            handle.remove()


def _hook(edits: list[CopyEdit]) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Tensor]]:
    """For passes that begin at the first position, and then for passes of one more position each."""
    n, at_start = len(edits), True
    neuron = torch.tensor([e.neuron for e in edits])
    factor, offset = (torch.tensor([getattr(e, name) for e in edits]) for name in ("factor", "offset"))

    def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        nonlocal at_start
        acts: Tensor = args[0].clone()
        shaped = acts.view(n, -1, acts.shape[-1])  # OPT (transformers 5.23) flattens batch and positions
        first, at_start = int(at_start), False
        cells = torch.arange(n, device=acts.device), neuron.to(acts.device)
        by_row = shaped.transpose(1, 2)[cells].T  # [pos copy]: one neuron per copy
        new = changed(by_row, factor.to(acts), offset.to(acts))
        new[:first] = by_row[:first]
        shaped.transpose(1, 2)[cells] = new.T
        return (acts,)

    return hook
