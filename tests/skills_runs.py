"""Runs with collected skills: the demo model on texts of the demo world, with autoencoders and neurons.

@pytest.fixture(scope="session")
def collected(tmp_path_factory): return collected_run(tmp_path_factory.mktemp("skills"))
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import torch

from neuron_signatures import poc7_compare_skills
from neuron_signatures.models.saes.config import SaeConfig
from neuron_signatures.models.saes.sae import Architecture, Sae
from neuron_signatures.models.saes.source import SaeSource
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
KINDS: tuple[Architecture, ...] = ("jumprelu", "standard", "topk")
"""The architecture of a small autoencoder, by its layer modulo 3."""
FLAGS = [
    "--mode", "collect", "--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu", "--max_length", "64",
    "--sample_tokens", "500", "--quiet",
]  # fmt: skip


def collected_run(tmp: Path, *flags: str) -> Path:
    """A new run with about 40 texts per class of the demo world, the demo autoencoders and neurons of all layers."""
    run = tmp / "run"
    texts = ["--texts", "demo", "--n_texts", str(N_PER_CLASS), "--saes", "demo"]
    assert collect_main("--out_dir", str(run), *texts, *flags) == 0
    return run


def collect_main(*flags: str) -> int:
    """The command; later flags replace earlier ones."""
    return poc7_compare_skills.main([*FLAGS, *flags])


def small_sae(site: Site, layer: int, d_in: int, device: torch.device | str = "cpu", *, scale: float = 1.0) -> Sae:
    """An autoencoder of random directions and their opposites; a good one if `scale` is 1."""
    kind = KINDS[layer % 3]
    generator = torch.Generator().manual_seed(layer)
    basis, _ = torch.linalg.qr(torch.randn(d_in, d_in, generator=generator))
    W_enc = torch.cat([basis, -basis], dim=1)
    threshold = 0.1 + 0.4 * torch.rand(2 * d_in, generator=generator)
    return Sae(
        name=f"{site}_{layer}", site=site, layer=layer, architecture=kind, W_enc=W_enc, b_enc=torch.zeros(2 * d_in),
        W_dec=scale * W_enc.T.contiguous(), b_dec=0.1 * torch.randn(d_in, generator=generator),
        threshold=threshold if kind == "jumprelu" else None, k=48 if kind == "topk" else None,
        apply_b_dec_to_input=True, source="small", sha256=None,
    )  # fmt: skip


def small_saes(request: CollectRequest, plan: ModelPlan, *, scale: float = 1.0) -> Sequence[SaeSource]:
    """One autoencoder per site and layer, of the three architectures by layer."""
    if request.banks.saes is None:
        return []
    d = plan.info.d_model
    found = []
    for site in SAE_SITES:
        for layer in range(plan.info.layers):
            config = SaeConfig(KINDS[layer % 3], d, 2 * d, site, layer, None, True, False, None)
            load = functools.partial(small_sae, site, layer, d, scale=scale)
            found.append(SaeSource(f"{site}_{layer}", config, "small", load))
    return found


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
    return collect(request_of(run_dir, **more), silent, functools.partial(small_saes, scale=scale))
