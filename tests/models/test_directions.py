"""A unit's activation is the projection of its site on its direction, plus the bias."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from direction_files import directions_file, random_rows
from tiny_models import D_MODEL, VOCAB, tiny_model_dir

from neuron_signatures.models.capture import pad_batch
from neuron_signatures.models.directions import DirectionCapture
from neuron_signatures.models.load import load_model
from neuron_signatures.models.sites import Place, SiteCapture
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import Site
from neuron_signatures.runs.skills.directions import DirectionsFile, choose_site


def model(name: str = "gemma2"):
    return load_model(ModelSpec(str(tiny_model_dir(name)), dtype="fp32", device="cpu")).hf


IDS = [torch.randint(5, VOCAB, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (9, 5)]


@pytest.mark.parametrize("site", ["res", "att", "mlp"])
def test_activations_are_projections(site: Site, tmp_path: Path) -> None:
    hf, batch = model(), pad_batch(IDS, device=torch.device("cpu"))
    path = directions_file(tmp_path / "a", width=D_MODEL, layers=[0, 2], site=site)
    with DirectionsFile(path) as file, DirectionCapture(hf, file, choose_site(file, None, None)) as capture:
        found = capture.run(*batch)
        assert capture.layers == (0, 2) and capture.shape.d_mlp == 6
        rows = {bank.layer: file.arrays(bank).rows for bank in file.banks}
    with SiteCapture(hf, [Place(site, 0), Place(site, 2)]) as sites:
        values = sites.run(*batch)
    for acts, layer in zip(found, (0, 2), strict=True):
        for unit, direction in enumerate(rows[layer]):  # by hand
            want = (values[Place(site, layer)][1, 3].numpy().astype(np.float64) * direction).sum()
            assert float(acts[1, 3, unit]) == pytest.approx(want, abs=1e-5)


def test_bias_and_threshold_give_the_encoder_of_an_autoencoder(tmp_path: Path) -> None:
    rows, bias = random_rows(6, D_MODEL), np.linspace(-1, 1, 6, dtype=np.float32)
    threshold = np.full(6, 0.25, np.float32)
    more = {"enc.res.1": rows, "enc.res.1.bias": bias, "enc.res.1.threshold": threshold}
    path = directions_file(tmp_path / "a", width=D_MODEL, more=more)
    hf, ids = model(), torch.tensor([IDS[0]])
    with DirectionsFile(path) as file, DirectionCapture(hf, file, choose_site(file, "res", "enc")) as capture:
        (found,) = capture.run(ids)
    with SiteCapture(hf, [Place("res", 1)]) as sites:
        (x,) = sites.run(ids).values()
    sums = x.numpy() @ rows.T + bias
    np.testing.assert_allclose(found.numpy(), np.where(sums > 0.25, sums, 0), atol=1e-5)
    assert (found == 0).any() and (found > 0.25).any() and float(found.min()) == 0


def test_a_sink_and_some_layers(tmp_path: Path) -> None:
    hf, rows = model("gpt2"), []
    path = directions_file(tmp_path / "a", width=D_MODEL, layers=[0, 1, 2])
    with DirectionsFile(path) as file, DirectionCapture(hf, file, choose_site(file, None, None), [2, 1]) as capture:
        kept = capture.run(torch.tensor([IDS[0]]), None, lambda row, acts: rows.append((row, acts.shape)))
    assert kept == [] and rows == [(1, (1, 9, 6)), (0, (1, 9, 6))]


def test_a_file_for_another_model_is_refused(tmp_path: Path) -> None:
    hf = model()
    for width, layers, fault in ((D_MODEL + 1, [0], "has width 33, but res"), (D_MODEL, [3], "there is no layer 3")):
        path = directions_file(tmp_path / "a", width=width, layers=layers)
        with DirectionsFile(path) as file, pytest.raises(UsageError, match=fault):
            DirectionCapture(hf, file, choose_site(file, None, None))
