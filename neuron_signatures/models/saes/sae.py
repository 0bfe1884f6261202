"""A sparse autoencoder (SAE): activations to sparse features, and back.

Sources: Rajamanoharan et al. 2024 (arXiv:2407.14435) for JumpReLU, Gao et al. 2024 (arXiv:2406.04093) for top-k, and
Lieberum et al. 2024 (arXiv:2408.05147) for Gemma Scope.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.runs.skills.banks import Bank, Site

Architecture = Literal["standard", "jumprelu", "topk"]
ARCHITECTURES: Final[tuple[Architecture, ...]] = get_args(Architecture)


@dataclass(frozen=True, eq=False)
class Sae:
    """The weights of one SAE, float32 on one device.

    Features are f = act((x - b_in) W_enc + b_enc), where b_in is `b_dec` if `apply_b_dec_to_input`, else 0, and act is
    ReLU (`standard`), ReLU of what exceeds `threshold` (`jumprelu`), or ReLU of the `k` largest (`topk`). The
    reconstruction of x is f W_dec + b_dec. Features are never negative. Rows of `W_dec` need not have norm 1.

    `name` is unique within a release or folder; `source` says where the weights come from, and `sha256` is of their
    file. `model_name` is what the SAE says about its model; None if it does not say.
    """

    name: str
    site: Site
    layer: int
    architecture: Architecture
    W_enc: Float[Tensor, "d_in d_sae"]
    b_enc: Float[Tensor, "d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, "d_in"]
    threshold: Float[Tensor, "d_sae"] | None
    k: int | None
    apply_b_dec_to_input: bool
    source: str
    sha256: str | None
    model_name: str | None = None

    def __post_init__(self) -> None:
        shapes = [tuple(t.shape) for t in (self.b_enc, self.W_dec, self.b_dec)]
        assert shapes == [(self.d_sae,), (self.d_sae, self.d_in), (self.d_in,)]
        assert (self.threshold is not None) == (self.architecture == "jumprelu")
        assert (self.k is not None) == (self.architecture == "topk")
        assert self.k is None or 0 < self.k <= self.d_sae

    @property
    def d_in(self) -> int:
        return self.W_enc.shape[0]

    @property
    def d_sae(self) -> int:
        return self.W_enc.shape[1]

    @property
    def device(self) -> torch.device:
        return self.W_enc.device

    @property
    def bank(self) -> Bank:
        return Bank("sae", self.site, self.layer, self.d_sae)

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """Features of activations in any float dtype, which are converted to float32. Heads of `att` are flattened."""
        x = x.to(self.device, torch.float32)
        if self.apply_b_dec_to_input:
            x = x - self.b_dec
        pre = x @ self.W_enc + self.b_enc
        if self.threshold is not None:
            return pre.relu() * (pre > self.threshold)
        if self.k is None:
            return pre.relu()
        largest = pre.topk(self.k, dim=-1)
        return torch.zeros_like(pre).scatter(-1, largest.indices, largest.values.relu())

    def decode(self, f: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
        """The reconstruction of the activations, float32."""
        return f.to(self.device, torch.float32) @ self.W_dec + self.b_dec
