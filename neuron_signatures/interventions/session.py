"""A model for interventions: its plain form, for many copies at once, and a bridge of the same weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.interventions.edits import Edit, fwd_hooks
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.load import LoadedModel, bridge_beside

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Session:
    """`model` stays usable for plain forward passes. The bridge is made when it is first needed."""

    model: LoadedModel

    @functools.cached_property
    def bridge(self) -> TransformerBridge:
        return bridge_beside(self.model)

    @torch.no_grad()
    def logits(self, token_ids: Sequence[int], edits: Sequence[Edit] = ()) -> Float[Tensor, "pos vocab"]:
        """The model's logits (after a soft cap, if it has one) at every position, float32, through the bridge."""
        ids = torch.tensor([list(token_ids)], device=self.model.device)
        with (
            memory_faults(work_on(self.model.hf, "an edited forward pass", token_ids)),
            self.bridge.hooks(fwd_hooks=fwd_hooks(edits)),
        ):
            logits: Tensor = self.bridge(ids)[0]
        return logits.float()

    @torch.no_grad()
    def generate(
        self,
        token_ids: Sequence[int],
        edits: Sequence[Edit] = (),
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[int]:
        """The new tokens: the most likely ones at temperature 0, else drawn with this seed. Ends after an end token.

        An edit at given positions holds there; one without positions also at every new token.
        """
        ids = torch.tensor([list(token_ids)], device=self.model.device)
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with (
            memory_faults(work_on(self.model.hf, "generation", token_ids)),
            torch.random.fork_rng(devices),
            self.bridge.hooks(fwd_hooks=fwd_hooks(edits)),
        ):
            torch.manual_seed(seed)
            out: Int[Tensor, "1 all"] = self.bridge.generate(
                ids, max_new_tokens=max_new_tokens, do_sample=temperature > 0, temperature=temperature or 1.0,
                stop_at_eos=self.model.tokenizer.eos_token_id is not None, return_type="tokens", verbose=False,
            )  # fmt: skip
        return [int(i) for i in out[0, ids.shape[1] :]]
