"""Encoding and decoding, against the definitions written out for one token."""

from __future__ import annotations

import pytest
import torch
from tiny_saes import D_MODEL, D_SAE, MODEL, config, random_weights, write_lens
from torch import Tensor

from neuron_signatures.models.saes.load import saes_of
from neuron_signatures.models.saes.sae import Sae


def hand_made(architecture: str, *, apply_b_dec_to_input: bool = False) -> Sae:
    """Three features on two coordinates: x0, x1 and -x0."""
    return Sae(
        name="hand",
        site="res",
        layer=0,
        architecture=architecture,
        W_enc=torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
        b_enc=torch.tensor([0.0, 0.5, 0.0]),
        W_dec=torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]),
        b_dec=torch.tensor([0.0, 1.0]),
        threshold=torch.tensor([1.0, 1.0, 1.0]) if architecture == "jumprelu" else None,
        k=1 if architecture == "topk" else None,
        apply_b_dec_to_input=apply_b_dec_to_input,
        source="a test",
        sha256=None,
    )


@pytest.mark.parametrize(
    ("architecture", "x", "features"),
    [
        ("standard", [2.0, 0.25], [2.0, 0.75, 0.0]),
        ("standard", [-2.0, -3.0], [0.0, 0.0, 2.0]),
        ("jumprelu", [2.0, 0.25], [2.0, 0.0, 0.0]),
        ("jumprelu", [1.0, 0.5], [0.0, 0.0, 0.0]),  # a threshold is exceeded, not reached
        ("topk", [2.0, 3.0], [0.0, 3.5, 0.0]),
        ("topk", [0.0, -3.0], [0.0, 0.0, 0.0]),  # the largest of negative values is not a feature
    ],
)
def test_features_of_a_token(architecture, x, features):
    assert hand_made(architecture).encode(torch.tensor(x)).tolist() == features


def test_the_bias_of_the_decoder_is_subtracted_only_if_the_sae_says_so():
    x = torch.tensor([0.0, 1.0])
    assert hand_made("standard").encode(x).tolist() == [0.0, 1.5, 0.0]
    assert hand_made("standard", apply_b_dec_to_input=True).encode(x).tolist() == [0.0, 0.5, 0.0]


def test_the_reconstruction_is_a_sum_of_decoder_rows_and_the_bias():
    assert hand_made("standard").decode(torch.tensor([2.0, 0.75, 0.0])).tolist() == [2.0, 2.5]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_axes_before_the_last_are_kept_and_activations_become_float32(dtype):
    sae = hand_made("topk")
    x = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0)).to(dtype)
    f = sae.encode(x)
    assert f.shape == (2, 5, 3) and f.dtype == sae.decode(f).dtype == torch.float32
    assert torch.equal(f[1, 4], sae.encode(x[1, 4]))


def test_features_scaled_by_the_decoder_are_folded_into_the_weights(tmp_path):
    """sae-lens' `rescale_acts_by_decoder_norm`: features are measured with decoder rows of norm 1."""
    weights = random_weights("topk")
    write_lens(tmp_path, config("topk", rescale_acts_by_decoder_norm=True), weights)
    sae = saes_of(str(tmp_path), model=MODEL)[0].load("cpu")
    x = torch.randn(7, D_MODEL, generator=torch.Generator().manual_seed(1))
    norms = weights["W_dec"].norm(dim=-1)
    pre = ((x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]) * norms
    want = torch.where(pre >= pre.sort(dim=-1).values[:, -3:-2], pre.relu(), 0)
    assert torch.allclose(sae.encode(x), want, atol=1e-6)
    assert torch.allclose(sae.decode(want), (want / norms) @ weights["W_dec"] + weights["b_dec"], atol=1e-5)
    assert torch.allclose(sae.W_dec.norm(dim=-1), torch.ones(D_SAE))


def test_weights_are_stored_in_any_float_dtype(tmp_path):
    weights = random_weights()
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        folder = write_lens(tmp_path / str(dtype), config(), {key: t.to(dtype) for key, t in weights.items()})
        sae = saes_of(str(folder), model=MODEL)[0].load("cpu")
        assert_weights(sae, {key: t.to(dtype).float() for key, t in weights.items()})


def assert_weights(sae: Sae, weights: dict[str, Tensor]) -> None:
    for key, want in weights.items():
        assert torch.equal(getattr(sae, key), want), key
