"""Rows of sparse autoencoders as directions: an encoder's are its features, a decoder's are projections."""

from __future__ import annotations

from pathlib import Path

import make_directions
import pytest
import torch
from tiny_models import tiny_model_dir

from neuron_signatures.models.directions import DirectionCapture, Projection
from neuron_signatures.models.load import load_model
from neuron_signatures.models.saes.sae import Sae
from neuron_signatures.models.sites import Place, SiteCapture
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.records.directions.sae_rows import sae_directions
from neuron_signatures.runs.skills.directions import DirectionsFile, choose_site

CPU = torch.device("cpu")


def sae(architecture: str, *, from_input: bool) -> Sae:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return Sae(
        "a", "res", 0, architecture, draw(8, 20), draw(20), draw(20, 8), draw(8),  # type: ignore[arg-type]
        draw(20) if architecture == "jumprelu" else None, None, from_input, "hand-made", None,
    )  # fmt: skip


@pytest.mark.parametrize("architecture", ["standard", "jumprelu"])
@pytest.mark.parametrize("from_input", [True, False])
def test_encoder_rows_give_the_features(architecture: str, from_input: bool) -> None:
    """Also where a threshold is below 0."""
    of = sae(architecture, from_input=from_input)
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))
    acts = Projection.of(sae_directions(of, "encoder"), CPU).acts(x)
    torch.testing.assert_close(acts, of.encode(x), rtol=1e-4, atol=1e-5)
    assert float(acts.min()) == 0 and bool((acts > 0).any())


def test_decoder_rows_give_projections_from_the_bias_on() -> None:
    of = sae("standard", from_input=True)
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))
    acts = Projection.of(sae_directions(of, "decoder"), CPU).acts(x)
    torch.testing.assert_close(acts, (x - of.b_dec) @ of.W_dec.T, rtol=1e-4, atol=1e-4)


def test_features_of_the_demo_saes_through_the_command(tmp_path: Path) -> None:
    from neuron_signatures.models.saes.fit import sae_model_of
    from neuron_signatures.models.saes.load import saes_of

    model = load_model(ModelSpec("demo", dtype="fp32", device="cpu"))
    out = tmp_path / "enc.safetensors"
    flags = ["--model_name", "demo", "--kind", "sae", "--saes", "demo", "--site", "res", "att", "--layers", "1", "3"]
    assert make_directions.main([*flags, "--out", str(out), "--quiet"]) == 0
    ids = torch.tensor([[2, *range(100, 120)]])
    for site in ("res", "att"):
        with DirectionsFile(out) as file, DirectionCapture(model.hf, file, choose_site(file, site, None)) as capture:
            assert file.made.made_by == "sae"
            acts = capture.run(ids)
        sources = saes_of("demo", model=sae_model_of(model), sites=[site], layers=[1, 3])
        with SiteCapture(model.hf, [Place(site, 1), Place(site, 3)]) as sites:
            values = list(sites.run(ids).values())
        for found, source, x in zip(acts, sources, values, strict=True):
            torch.testing.assert_close(found, source.load("cpu").encode(x), rtol=1e-4, atol=1e-4)


def test_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--kind", "sae", "--saes", "demo", "--out", str(tmp_path / "a"), "--quiet"]
    for more, what in (
        (["--model_name", str(tiny_model_dir("gemma2"))], "the SAE reads 128 values, and res of model"),
        (["--model_name", "demo", "--site", "neuron"], "SAEs read res, att, mlp"),
        (["--model_name", "demo", "--layers", "9"], "has no SAE"),
        (["--model_name", "demo", "--n", "3"], "--n is not for --kind sae"),
    ):
        assert make_directions.main([*flags, *more]) == 2
        assert what in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
