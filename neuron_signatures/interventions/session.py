"""A model for interventions: its plain form, for many copies at once, and a bridge of the same weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.analysis.attribution.readout import pre_cap_logits
from neuron_signatures.interventions.edits import Edit, Hook, fwd_hooks
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.bridge import BridgeCapture, checked_bridge
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.weights import unembedding


@dataclass(frozen=True)
class Session:
    """`model` stays usable for plain forward passes. The bridge is made when it is first needed, and then compared with
    the model on the tokens of `check`."""

    model: LoadedModel
    check: tuple[int, ...]

    @functools.cached_property
    def bridge(self) -> Any:
        """A `TransformerBridge` (see `checked_bridge`)."""
        return checked_bridge(self.model, self.check)

    @torch.no_grad()
    def logits(self, token_ids: Sequence[int], edits: Sequence[Edit] = ()) -> Float[Tensor, "pos vocab"]:
        """The model's logits (after a soft cap, if it has one) at every position, float32, through the bridge."""
        return self._pass(token_ids, fwd_hooks(edits)).float()

    @torch.no_grad()
    def pre_cap_logits(self, token_ids: Sequence[int], pos: int, edits: Sequence[Edit] = ()) -> Float[Tensor, " vocab"]:
        """The logits before the soft cap at one position, float32, through the bridge.

        All positions are run, as in `acts`: so an edit that sets activations of `acts` changes no bit.
        """
        seen: list[Tensor] = []
        self._pass(token_ids, [*fwd_hooks(edits), ("unembed.hook_in", _keep(seen))])
        return pre_cap_logits(unembedding(self.model.hf), seen[0][0, pos : pos + 1])[0]

    @torch.no_grad()
    def acts(self, token_ids: Sequence[int]) -> Float[Tensor, "layer pos neuron"]:
        """Activations (`hook_post`) of every layer, captured through the bridge, float32 on the CPU."""
        ids = torch.tensor([list(token_ids)], device=self.model.device)
        work = work_on(self.model.hf, "the forward pass that captures activations", token_ids)
        with memory_faults(work), BridgeCapture(self.bridge) as capture:
            return torch.stack([layer[0].float().cpu() for layer in capture.run(ids)])

    def _pass(self, token_ids: Sequence[int], hooks: list[tuple[str, Hook]]) -> Tensor:
        ids = torch.tensor([list(token_ids)], device=self.model.device)
        work = work_on(self.model.hf, "an edited forward pass", token_ids)
        with memory_faults(work), self.bridge.hooks(fwd_hooks=hooks):
            logits: Tensor = self.bridge(ids)[0]
        return logits

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


def _keep(seen: list[Tensor]) -> Hook:
    def hook(value: Tensor, hook: Any) -> Tensor:
        seen.append(value.clone())
        return value

    return hook
