"""An SAE that is known but not loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from neuron_signatures.models.saes.config import SaeConfig
from neuron_signatures.models.saes.sae import Sae
from neuron_signatures.runs.skills.banks import Bank, Site


@dataclass(frozen=True)
class SaeSource:
    """Name, site, layer and size of an SAE, and how it is loaded. `origin` is its folder or release, for messages."""

    name: str
    config: SaeConfig
    origin: str
    loader: Callable[[torch.device], Sae]

    @property
    def site(self) -> Site:
        return self.config.site

    @property
    def layer(self) -> int:
        return self.config.layer

    @property
    def d_in(self) -> int:
        return self.config.d_in

    @property
    def d_sae(self) -> int:
        return self.config.d_sae

    @property
    def bank(self) -> Bank:
        return Bank("sae", self.site, self.layer, self.d_sae)

    @property
    def n_bytes(self) -> int:
        """Bytes of the loaded weights, float32."""
        return 4 * (2 * self.d_in * self.d_sae + self.d_in + 2 * self.d_sae)

    def load(self, device: torch.device | str) -> Sae:
        """The SAE in memory. Raises `UsageError` for a missing or damaged file and values that are not finite, and
        `EnvironmentProblem` if a download fails or memory is short."""
        return self.loader(torch.device(device))
