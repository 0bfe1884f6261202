"""The active features of an autoencoder, as a list: of hundreds or thousands of features a few dozen are active."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@runtime_checkable
class Autoencoder(Protocol):
    """What is needed of the weights of a sparse autoencoder (float32)."""

    @property
    def W_enc(self) -> Tensor: ...
    @property
    def b_enc(self) -> Tensor: ...
    @property
    def W_dec(self) -> Tensor: ...
    @property
    def b_dec(self) -> Tensor: ...
    @property
    def threshold(self) -> Tensor | None: ...
    @property
    def k(self) -> int | None: ...
    @property
    def apply_b_dec_to_input(self) -> bool: ...


class Active(NamedTuple):
    """Activations above 0: their token, unit and value, ordered by token. `start` is where each token's begin."""

    token: Int[Tensor, " active"]
    unit: Int[Tensor, " active"]
    value: Float[Tensor, " active"]
    start: Int[Tensor, " token"]
    most: int
    """Active units of the token that has the most."""


class Encoder:
    """Encodes tokens with an autoencoder. Values equal those of its `encode` within rounding.

    The bias of the input is in that of the encoder, so that a batch is one matrix product and one comparison.
    """

    def __init__(self, sae: Autoencoder) -> None:
        self._W_enc, self._W_dec, self._b_dec = sae.W_enc, sae.W_dec, sae.b_dec
        self._bias = sae.b_enc - sae.b_dec @ sae.W_enc if sae.apply_b_dec_to_input else sae.b_enc
        self._k = sae.k
        self._above: Tensor | float = 0.0 if sae.threshold is None else sae.threshold.clamp(min=0)

    def active(self, x: Float[Tensor, "token d_in"]) -> Active:
        pre = torch.addmm(self._bias, x, self._W_enc)
        if self._k is None:
            flat = _true(pre > self._above)
        else:
            largest = pre.topk(self._k, dim=1, sorted=False)
            flat = _true(torch.zeros_like(pre, dtype=torch.bool).scatter_(1, largest.indices, largest.values > 0))
        token = flat.div(pre.shape[1], rounding_mode="floor")
        counts = torch.bincount(token, minlength=len(x))
        most = int(counts.max()) if len(x) else 0
        return Active(token, flat - token * pre.shape[1], pre.view(-1)[flat], counts.cumsum(0) - counts, most)

    def reconstruct(self, active: Active) -> Float[Tensor, "token d_in"]:
        """What the decoder makes of the active features."""
        if not len(active.value):
            return self._b_dec.expand(len(active.start), -1)
        summed = torch.nn.functional.embedding_bag(
            active.unit, self._W_dec, active.start, mode="sum", per_sample_weights=active.value
        )
        return summed + self._b_dec


def _true(mask: Bool[Tensor, "token unit"]) -> Int[Tensor, " true"]:
    """Flat indices where the mask is true, ascending. On the CPU by numpy, which skips zeros (torch 2.13 does not)."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.view(-1).nonzero().squeeze(1)
