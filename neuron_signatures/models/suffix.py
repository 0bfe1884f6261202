"""Batched forward passes over the end of a prompt, with edited activations.

Positions before the first edited one do not change, so they are run once and cached as keys and values. Positions
after the last one of interest are not run, because attention is causal. Layers below the first edited one are not run
again either: their output for the prompt is kept.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from neuron_signatures.models.capture import backbone, decoder_layers, output_projections
from neuron_signatures.models.site_edits import layers_return
from neuron_signatures.runs.errors import UsageError

# (layer, activations [batch pos neuron]) -> activations of the same shape
Edit = Callable[[int, Tensor], Tensor]


class Suffix:
    """Positions `first` to `last` (inclusive) of a prompt, run in batches of copies."""

    def __init__(self, hf: PreTrainedModel, token_ids: Sequence[int], *, first: int, last: int) -> None:
        if not 0 <= first <= last < len(token_ids):
            raise UsageError(f"positions {first} to {last} are not in a prompt of {len(token_ids)} tokens")
        self.first, self.last = first, last
        self._body = backbone(hf)
        self._layers, self._projections = decoder_layers(hf), output_projections(hf)
        self._clean: list[Tensor] = []
        device = hf.get_input_embeddings().weight.device
        ids = torch.tensor([list(token_ids[: last + 1])], device=device)
        self._ids = ids[:, first:]
        self._prefix = self._run_prefix(ids[:, :first]) if first else None

    @property
    def length(self) -> int:
        return self.last - self.first + 1

    def run(
        self, batch: int, edit: Edit | None = None, layers: Sequence[int] | None = None, *, from_layer: int = 0
    ) -> Float[Tensor, "batch d_model"]:
        """Input of the unembedding at the last position, for `batch` copies of the prompt. Otherwise as `run_all`."""
        return self.run_all(batch, edit, layers, from_layer=from_layer)[:, -1]

    def run_all(
        self, batch: int, edit: Edit | None = None, layers: Sequence[int] | None = None, *, from_layer: int = 0
    ) -> Float[Tensor, "batch pos d_model"]:
        """Input of the unembedding at all positions of the suffix, for `batch` copies of the prompt.

        `edit(layer, acts)` returns the activations `[batch pos neuron]` of the suffix that replace `acts`; it is
        called for `layers` (None: all) in order. Gradients are recorded unless the caller has disabled them. Layers
        below `from_layer`, none of which may be edited, are not run: the prompt's own output of the last of them is
        taken instead.
        """
        past = copy.deepcopy(self._prefix)
        if past is not None:
            past.batch_repeat_interleave(batch)
        with contextlib.ExitStack() as stack:
            if from_layer:
                out = self._clean_outputs()[from_layer - 1].expand(batch, -1, -1)
                stack.enter_context(layers_return(self._layers[:from_layer], out))
            if edit is not None:
                for layer in range(len(self._projections)) if layers is None else layers:
                    hook = _hook(edit, layer, (batch, self.length))
                    stack.enter_context(self._projections[layer].register_forward_pre_hook(hook))
            out = self._body(
                input_ids=self._ids.expand(batch, -1), past_key_values=past, use_cache=past is not None
            ).last_hidden_state
        hidden: Tensor = out
        return hidden

    @torch.no_grad()
    def acts(self, positions: Sequence[int], layers: Sequence[int]) -> Float[Tensor, "layer pos neuron"]:
        """Activations of the unedited prompt at these positions of the prompt, float32."""
        seen: list[Tensor] = []

        def keep(_: int, acts: Tensor) -> Tensor:
            seen.append(acts[0, self.rows(positions).to(acts.device)])
            return acts

        self.run(1, keep, layers)
        return torch.stack([a.to(seen[0].device) for a in seen]).float()

    def rows(self, positions: Sequence[int]) -> Int[Tensor, " pos"]:
        """Indices of these positions of the prompt in the suffix."""
        rows = torch.tensor(list(positions)) - self.first
        assert len(rows) and int(rows.min()) >= 0 and int(rows.max()) < self.length
        return rows

    @torch.no_grad()
    def _clean_outputs(self) -> list[Tensor]:
        """The output `[1 pos d_model]` of each layer for the unedited prompt."""
        if not self._clean:
            outputs: list[Tensor] = []
            with contextlib.ExitStack() as stack:
                for layer in self._layers:
                    stack.enter_context(layer.register_forward_hook(lambda _, __, out: outputs.append(out)))
                self.run(1)
            self._clean = outputs
        return self._clean

    @torch.no_grad()
    def _run_prefix(self, ids: Tensor) -> DynamicCache:
        cache = DynamicCache(config=self._body.config)
        self._body(input_ids=ids, past_key_values=cache, use_cache=True)
        return cache


def _hook(edit: Edit, layer: int, batch_pos: tuple[int, int]) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Tensor]]:
    def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        acts: Tensor = args[0]
        # OPT (transformers 5.23) flattens batch and positions before its MLP.
        return (edit(layer, acts.view(*batch_pos, -1)).view(acts.shape),)

    return hook
