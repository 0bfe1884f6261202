"""The quality of an autoencoder on the tokens that count: L0, unexplained variance, dead features.

FVU, the fraction of variance unexplained, is Σ|x - x̂|² / Σ|x - mean of x|² over all tokens. It is 0 for a perfect
reconstruction and 1 for one that is as good as the mean; above 1 the autoencoder reads another tensor than the one it
was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

MOST_FVU: Final = 1.0


@dataclass(frozen=True)
class Gate:
    """`l0`: mean number of active features per token; `dead_share`: of features that are active at none of them.
    `fvu` is None where all tokens are equal."""

    l0: float
    fvu: float | None
    dead_share: float
    n_tokens: int

    @property
    def passed(self) -> bool:
        return self.fvu is not None and self.fvu <= MOST_FVU


class GateSums:
    """Sums over tokens, float64. Activations are taken relative to `shift`, about their mean, so that little is lost
    where the mean is large and the variance small."""

    def __init__(self, shift: Float[Tensor, " d_in"]) -> None:
        self._shift = shift
        self._sum = torch.zeros_like(shift, dtype=torch.float64)
        self._numbers = np.zeros(4)  # tokens, active features, squares, squared residuals

    def add(self, x: Float[Tensor, "token d_in"], reconstruction: Float[Tensor, "token d_in"], n_active: int) -> None:
        """Count tokens that have `n_active` active features together."""
        centred, residual = (x - self._shift).view(-1), (x - reconstruction).view(-1)
        self._sum += centred.view_as(x).sum(0)
        self._numbers += (len(x), n_active, float(centred @ centred), float(residual @ residual))

    def arrays(self, fired: Bool[np.ndarray, " unit"]) -> dict[str, np.ndarray]:
        """What is stored, with the features that were ever active; `joined` adds up those of several parts."""
        return {
            "gate.numbers": self._numbers.copy(),
            "gate.sum": self._sum.cpu().numpy(),
            "gate.fired": fired.astype(np.uint8),
        }


def joined(parts: list[Mapping[str, np.ndarray]]) -> Gate:
    """The gate over the tokens of all parts, which have the same shift."""
    n, active, squares, residuals = np.sum([p["gate.numbers"] for p in parts], axis=0).tolist()
    total = np.sum([p["gate.sum"] for p in parts], axis=0)
    fired = np.any([p["gate.fired"] for p in parts], axis=0)
    variance = squares - float(total @ total) / n
    # what rounding leaves of equal tokens
    fvu = residuals / variance if variance > 1e-12 * squares else None
    return Gate(active / n, fvu, 1 - float(fired.mean()), int(n))
