"""The active features of an autoencoder, as a list: of hundreds or thousands of features a few dozen are active."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuron_signatures.models.saes.sae import Sae
from neuron_signatures.skills.collect.units.strongest import NONE, Strongest, largest


class Active(NamedTuple):
    """Activations above 0: their token, unit and value, ordered by token. `start` is where each token's begin."""

    token: Int[Tensor, " active"]
    unit: Int[Tensor, " active"]
    value: Float[Tensor, " active"]
    start: Int[Tensor, " token"]


class Encoder:
    """Encodes tokens with an autoencoder. Values equal those of its `encode` within rounding.

    The bias of the input is in that of the encoder, so that a batch is one matrix product and one comparison.
    """

    def __init__(self, sae: Sae) -> None:
        self._W_enc, self._W_dec, self._b_dec = sae.W_enc, sae.W_dec, sae.b_dec
        self._bias = sae.b_enc - sae.b_dec @ sae.W_enc if sae.apply_b_dec_to_input else sae.b_enc
        self._k = sae.k
        self._above = torch.zeros_like(sae.b_enc) if sae.threshold is None else sae.threshold.clamp(min=0)

    def active(self, x: Float[Tensor, "token d_in"]) -> Active:
        """The active features."""
        return self._active(*self._encoded(x))

    def active_and_strongest(self, x: Float[Tensor, "token d_in"], k: int) -> tuple[Active, Strongest]:
        """The active features, and the k strongest of each token."""
        active = self.active(x)
        return active, _strongest(active, k)

    def reconstruct(self, active: Active) -> Float[Tensor, "token d_in"]:
        """What the decoder makes of the active features."""
        if not len(active.value):
            return self._b_dec.expand(len(active.start), -1)
        summed = torch.nn.functional.embedding_bag(
            active.unit, self._W_dec, active.start, mode="sum", per_sample_weights=active.value
        )
        return summed.add_(self._b_dec)

    def _encoded(self, x: Tensor) -> tuple[Float[Tensor, "token unit"], Bool[Tensor, "token unit"]]:
        """The values of all features, and which of them are active."""
        pre = torch.addmm(self._bias, x, self._W_enc)
        if self._k is not None:
            kept = pre.topk(self._k, dim=1, sorted=False)
            return pre, torch.zeros_like(pre, dtype=torch.bool).scatter_(1, kept.indices, kept.values > 0)
        if pre.device.type == "cpu":  # torch 2.13 compares at a fifth of the speed of numpy 2.4
            return pre, torch.from_numpy(np.greater(pre.numpy(), self._above.numpy()))
        return pre, pre > self._above

    def _active(self, pre: Tensor, mask: Tensor) -> Active:
        n, width = pre.shape
        if pre.device.type == "cpu":  # numpy: less time per operation, of which there are many on few values
            flat = true_indices(mask.numpy())
            starts = flat.searchsorted(np.arange(0, (n + 1) * width, width))
            token = np.repeat(np.arange(n), np.diff(starts))
            value = pre.numpy().reshape(-1).take(flat)
            return Active(*map(torch.from_numpy, (token, flat - token * width, value, starts[:-1])))
        counts, (at, unit) = mask.sum(1), mask.nonzero(as_tuple=True)
        return Active(at, unit, pre[at, unit], counts.cumsum(0) - counts)


def _strongest(active: Active, k: int) -> Strongest:
    """The k strongest active features of each token; of equal ones the first."""
    n, total = len(active.start), len(active.value)
    if not total:
        return Strongest(active.unit.new_full((n, k), NONE), active.value.new_zeros((n, k)))
    place = torch.arange(total, device=active.token.device) - active.start[active.token]
    most = max(int(place.max()) + 1, k)
    beside = active.value.new_zeros(n * most)
    beside[active.token * most + place] = active.value
    found = largest(beside.view(n, most), k)
    unit = active.unit[(active.start[:, None] + found.unit).clamp(max=total - 1)]
    return Strongest(torch.where(found.value > 0, unit, NONE), found.value.clamp(min=0))


def true_indices(mask: Bool[np.ndarray, "token unit"]) -> Int[np.ndarray, " true"]:
    """Flat indices where the mask is true, ascending; eight values at a time, because most are false."""
    flat = mask.reshape(-1)
    if flat.size % 8:
        found: np.ndarray = np.flatnonzero(flat)
        return found
    eights = flat.view(np.uint64)
    there = np.flatnonzero(eights != 0)
    within = np.flatnonzero(eights[there].view(np.bool_))
    found = (there[within >> 3] << 3) + (within & 7)
    return found
