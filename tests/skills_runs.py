"""Runs with collected skills: the demo model on texts of the demo world, with autoencoders and neurons.

@pytest.fixture(scope="session")
def collected(tmp_path_factory): return collected_run(tmp_path_factory.mktemp("skills"))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.records.request import NewRun
from neuron_signatures.records.target_run import ModelPlan
from neuron_signatures.runs.progress import silent
from neuron_signatures.runs.skills.banks import SAE_SITES, Site
from neuron_signatures.skills.collect.request import BanksRequest, CollectRequest, TextsRequest
from neuron_signatures.skills.collect.stage import collect
from neuron_signatures.skills.collect.summary import CollectSummary

N_PER_CLASS = 40
DEMO = ModelSpec("demo", dtype="fp32", device="cpu")


@dataclass(frozen=True, eq=False)
class SmallSae:
    """An autoencoder of random directions and their opposites, above a threshold; good if `scale` is 1.

    With `threshold` None it is a standard one, and with `k` a top-k one.
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    threshold: Tensor | None = None
    k: int | None = None
    apply_b_dec_to_input: bool = True
    source: str = "small"
    sha256: str | None = None


@dataclass(frozen=True)
class SmallSource:
    """Makes a `SmallSae` when it is loaded."""

    site: Site
    layer: int
    d_in: int
    kind: str = "jumprelu"
    scale: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.site}_{self.layer}"

    @property
    def d_sae(self) -> int:
        return 2 * self.d_in

    def load(self, device: torch.device | str) -> SmallSae:
        generator = torch.Generator().manual_seed(self.layer)
        basis, _ = torch.linalg.qr(torch.randn(self.d_in, self.d_in, generator=generator))
        W_enc = torch.cat([basis, -basis], dim=1)
        return SmallSae(
            W_enc, torch.zeros(self.d_sae), self.scale * W_enc.T.contiguous(),
            0.1 * torch.randn(self.d_in, generator=generator),
            threshold=torch.full((self.d_sae,), 0.3) if self.kind == "jumprelu" else None,
            k=16 if self.kind == "topk" else None,
        )  # fmt: skip


def small_saes(request: CollectRequest, plan: ModelPlan, *, scale: float = 1.0) -> Sequence[SmallSource]:
    """One autoencoder per site and layer, of the three architectures by layer."""
    if request.banks.saes is None:
        return []
    kinds = ("jumprelu", "standard", "topk")
    d = plan.info.d_model
    return [SmallSource(s, n, d, kinds[n % 3], scale) for s in SAE_SITES for n in range(plan.info.layers)]


def request_of(run_dir: Path, **more: object) -> CollectRequest:
    """A request for a new run of the demo model; fields of the request, its texts and its banks can be replaced."""
    texts = {"source": "demo", "n_per_class": N_PER_CLASS, "classes": None, "max_length": 64, "skip_first": 1}
    banks = {"saes": "small", "directions": None, "sources": None, "sites": None, "layers": None}
    rest: dict[str, object] = {
        "target": NewRun(run_dir, DEMO), "top_k": 3, "quantile": 0.99, "sample_tokens": 500, "batch_size": 16,
        "seed": 0,
    }  # fmt: skip
    for key, value in more.items():
        (texts if key in texts else banks if key in banks else rest)[key] = value
    return CollectRequest(texts=TextsRequest(**texts), banks=BanksRequest(**banks), **rest)  # type: ignore[arg-type]


def collect_small(run_dir: Path, *, scale: float = 1.0, **more: object) -> CollectSummary:
    """Collect with the small autoencoders."""

    def find(request: CollectRequest, plan: ModelPlan) -> Sequence[SmallSource]:
        return small_saes(request, plan, scale=scale)

    return collect(request_of(run_dir, **more), silent, find)


def collected_run(tmp: Path, **more: object) -> Path:
    """A new run with about 40 texts per class of the demo world, autoencoders at all sites and layers, and neurons."""
    run = tmp / "run"
    collect_small(run, **more)
    return run
