"""How well an SAE fits activations: L0, the share of variance it leaves unexplained, and dead features.

Definitions as in Gao et al. 2024 (arXiv:2406.04093) and Lieberum et al. 2024 (arXiv:2408.05147).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.models.saes.sae import Sae


@dataclass(frozen=True)
class SaeQuality:
    """Measured on `n_tokens` activations.

    `l0` is the mean number of features above zero per token. `fvu` is the squared error of the reconstruction, summed
    over tokens and coordinates, divided by the squared distance of the activations from their mean: 0 is perfect, 1 is
    as good as the mean, and None if all activations are equal. `dead_share` is the share of features that are zero on
    every token, which depends on the number of tokens.
    """

    n_tokens: int
    l0: float
    fvu: float | None
    dead_share: float


class QualityMeter:
    """Accumulates the sums for `SaeQuality` over batches, in float64."""

    def __init__(self, sae: Sae) -> None:
        self._sae = sae
        self._n = 0
        self._active = torch.zeros(sae.d_sae, dtype=torch.int64, device=sae.device)
        self._error = torch.zeros((), dtype=torch.float64, device=sae.device)
        self._square = torch.zeros((), dtype=torch.float64, device=sae.device)
        self._sum = torch.zeros(sae.d_in, dtype=torch.float64, device=sae.device)

    def add(self, x: Float[Tensor, "token d_in"], features: Float[Tensor, "token d_sae"] | None = None) -> None:
        """Count a batch of activations; `features` are those of the SAE, if they were computed already."""
        x = x.to(self._sae.device, torch.float32)
        f = self._sae.encode(x) if features is None else features.to(self._sae.device)
        self._n += len(x)
        self._active += (f > 0).sum(0)
        self._error += (self._sae.decode(f).double() - x.double()).square().sum()
        # distances from the decoder's bias: the sums stay small next to a mean far from zero
        centred = x.double() - self._sae.b_dec.double()
        self._square += centred.square().sum()
        self._sum += centred.sum(0)

    def result(self) -> SaeQuality:
        """The quality on all batches. Needs at least one token."""
        assert self._n > 0
        variance = float(self._square - self._sum.square().sum() / self._n)
        fvu = float(self._error) / variance if variance > 0 else None
        dead = float((self._active == 0).float().mean())
        return SaeQuality(self._n, float(self._active.sum()) / self._n, fvu, dead)
