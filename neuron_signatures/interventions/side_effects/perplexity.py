"""The perplexity of a text, and changes of the model that hold at all positions of a text but the first."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.readout import capped, pre_cap_logits
from neuron_signatures.interventions.changes import Changes, changed
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import backbone, output_projections
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.weights import unembedding

# Positions whose logits over a large vocabulary are in memory at a time.
_POSITIONS_AT_ONCE = 64


def perplexity(model: LoadedModel, token_ids: Sequence[int], *, first: int = 1) -> float:
    """exp of the mean negative log likelihood (nats) of the tokens from position `first` on, given those before.

    By a plain forward pass, in which the hooks of the caller hold.
    """
    losses = token_losses(model, token_ids)[first - 1 :]
    return math.exp(min(float(losses.double().mean()), math.log(sys.float_info.max)))


@torch.no_grad()
def token_losses(model: LoadedModel, token_ids: Sequence[int]) -> Float[Tensor, " predicted"]:
    """Negative log likelihood of every token but the first, float32 on the CPU."""
    ids = torch.tensor([list(token_ids)], device=model.device)
    head = unembedding(model.hf)
    with memory_faults(work_on(model.hf, "a perplexity", token_ids)):
        hidden = backbone(model.hf)(input_ids=ids, use_cache=False).last_hidden_state[0, :-1]
        parts = [
            capped(head, pre_cap_logits(head, some)).log_softmax(-1).gather(-1, after[:, None].to(head.weight.device))
            for some, after in zip(hidden.split(_POSITIONS_AT_ONCE), ids[0, 1:].split(_POSITIONS_AT_ONCE), strict=True)
        ]
    return -torch.cat(parts)[:, 0].float().cpu()


@contextlib.contextmanager
def changed_everywhere(hf: PreTrainedModel, changes: Changes) -> Iterator[None]:
    """Within the block, plain forward passes over one sequence have the changes at every position but the first.

    The positions of `changes`, which has one cell per neuron, are not used.
    """
    projections = output_projections(hf)
    with contextlib.ExitStack() as stack:
        for layer in sorted(set(changes.layer.tolist())):
            hook = _hook(changes[(changes.layer == layer).nonzero()[:, 0]])
            stack.enter_context(projections[layer].register_forward_pre_hook(hook))
        yield


def _hook(changes: Changes) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Tensor]]:
    def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        acts: Tensor = args[0].clone()
        flat = acts.view(-1, acts.shape[-1])  # OPT (transformers 5.23) flattens batch and positions before its MLP
        neuron = changes.neuron.to(acts.device)
        factor, offset = changes.factor.to(acts), changes.offset.to(acts)
        flat[1:, neuron] = changed(flat[1:, neuron], factor, offset)
        return (acts,)

    return hook
