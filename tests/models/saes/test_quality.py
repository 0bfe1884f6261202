"""L0, unexplained variance and dead features, on numbers that can be checked by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_saes import MODEL, config, write_lens

from neuron_signatures.models.saes.load import saes_of
from neuron_signatures.models.saes.quality import QualityMeter
from neuron_signatures.models.saes.sae import Sae


def identity(scale: float = 1.0) -> Sae:
    """Features x0+, x1+, x0-, x1- and one that never fires; the reconstruction is `scale` times x."""
    eye = torch.eye(2)
    return Sae(
        name="identity",
        site="res",
        layer=0,
        architecture="standard",
        W_enc=torch.cat([eye, -eye, torch.zeros(2, 1)], dim=1),
        b_enc=torch.tensor([0.0, 0.0, 0.0, 0.0, -1.0]),
        W_dec=scale * torch.cat([eye, -eye, torch.ones(1, 2)]),
        b_dec=torch.zeros(2),
        threshold=None,
        k=None,
        apply_b_dec_to_input=False,
        source="a test",
        sha256=None,
    )


X = torch.tensor([[1.0, 0.0], [-1.0, 2.0], [3.0, 1.0], [1.0, 1.0]])


def measured(sae: Sae, *batches: torch.Tensor):
    meter = QualityMeter(sae)
    for batch in batches:
        meter.add(batch)
    return meter.result()


def test_hand_made_numbers():
    quality = measured(identity(), X)
    assert (quality.n_tokens, quality.l0, quality.fvu) == (4, 7 / 4, 0.0)
    assert quality.dead_share == pytest.approx(2 / 5)  # x1- and the last
    # the error is x/2; the mean is (1, 1), from which the squared distances are 1, 5, 4, 0
    assert measured(identity(0.5), X).fvu == pytest.approx(X.square().sum().item() / 4 / 10)


def test_batches_add_up_and_features_can_be_given():
    sae = identity(0.7)
    meter = QualityMeter(sae)
    meter.add(X[:1], sae.encode(X[:1]))
    meter.add(X[1:])
    whole = measured(sae, X)
    assert meter.result().fvu == pytest.approx(whole.fvu)
    assert dataclasses.replace(meter.result(), fvu=whole.fvu) == whole


def test_a_mean_far_from_zero_and_equal_activations():
    far = X + 1e4
    sae = dataclasses.replace(identity(), b_dec=torch.full((2,), 1e4), apply_b_dec_to_input=True)
    assert measured(sae, far).fvu == pytest.approx(0, abs=1e-6)
    assert measured(identity(), X[:1]).fvu is None


def test_an_sae_at_another_hook_leaves_more_than_the_variance_unexplained(tmp_path):
    """The gate for a wrong hook: random features explain nothing."""
    [source] = saes_of(str(write_lens(tmp_path, config())), model=MODEL)
    x = torch.randn(200, source.d_in, generator=torch.Generator().manual_seed(0))
    fvu = measured(source.load("cpu"), x).fvu
    assert fvu is not None and fvu > 1
