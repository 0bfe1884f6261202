"""The mean over prompts of one template as the reference of a circuit: what is the same for every entity vanishes.

Activations are compared at the position with the same role (`groups.align`), as mean ablation is done on templates in
arXiv 2211.00593 and 2403.19647. The mean over all tokens of a run is another reference: by it, neurons that hold the
sentence together count as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.circuits.groups.align import NO_TEMPLATE, align, common_span
from neuron_signatures.runs.errors import UsageError


class Seen(NamedTuple):
    """A prompt with its activations at all its positions."""

    token_ids: tuple[int, ...]
    acts: Float[Tensor, "layer pos neuron"]


def template_mean(token_ids: Sequence[int], others: Sequence[Seen]) -> Float[Tensor, "layer pos neuron"]:
    """Mean activation over `others` at each position of `token_ids`, aligned prompt by prompt.

    A position that no other prompt has (the beginning of a longer entity) has the mean of the next one that some have.
    Raises `UsageError` without others, and if one of them has no more than the first token in common.
    """
    if not others:
        raise UsageError("a mean over prompts of a template needs another prompt of it", where="--reference")
    n = len(token_ids)
    n_layers, _, d_mlp = others[0].acts.shape
    total, count = torch.zeros(n_layers, n, d_mlp, dtype=torch.float64), torch.zeros(n)
    for other in others:
        if not common_span([token_ids, other.token_ids]).is_template:
            raise UsageError(NO_TEMPLATE, where="--reference", next_step="Give prompts of one template")
        here, there = (list(positions) for positions in zip(*align(token_ids, other.token_ids), strict=True))
        total[:, here] += other.acts[:, there].double()
        count[here] += 1
    for pos in reversed(range(n)):
        if not count[pos]:
            later = pos + 1 if pos + 1 < n else pos - 1
            total[:, pos], count[pos] = total[:, later], count[later]
    return (total / count[:, None]).float()
