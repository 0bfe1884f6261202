"""Directions of neurons in every architecture, and how they differ between models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES, D_MODEL, build_model
from transformers.activations import ACT2FN

from neuron_signatures.drift.weights import changes, mlp_weights
from neuron_signatures.models.capture import decoder_layers, output_projections

GATED = ("gemma", "gemma2", "gemma3", "llama", "qwen2", "qwen3", "mistral", "phi3")


@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n != "opt"])
@torch.no_grad()
def test_the_directions_give_the_activations(name):
    model = build_model(name)
    mlp = decoder_layers(model)[1].mlp
    x = torch.randn(5, D_MODEL, generator=torch.Generator().manual_seed(0))
    seen: list[torch.Tensor] = []
    projection = output_projections(model)[1]
    handle = projection.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    mlp(x)
    handle.remove()
    found = mlp_weights(model, 1)
    assert ("gate" in found) == (name in GATED)
    config = model.config
    act = ACT2FN[getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None)
                 or config.activation_function]  # fmt: skip
    if "gate" in found:
        wanted = act(x @ found["gate"].T) * (x @ found["in"].T)
    else:
        first = next(m for m in mlp.children() if m is not projection and hasattr(m, "bias"))
        wanted = act(x @ found["in"].T + first.bias)
    assert torch.allclose(seen[0], wanted, atol=1e-5)
    assert found["out"].shape == found["in"].shape


def test_the_weights_of_opt():
    model = build_model("opt")
    found = mlp_weights(model, 0)
    layer = decoder_layers(model)[0]
    assert torch.equal(found["in"], layer.fc1.weight) and torch.equal(found["out"], layer.fc2.weight.T)
    assert "gate" not in found


def test_equal_weights_have_cosine_and_ratio_exactly_one():
    w = np.random.default_rng(0).standard_normal((300, 17)).astype(np.float32)
    found = changes(w, w.copy())
    assert (found.cosine == 1).all() and (found.norm_ratio == 1).all()


def test_a_turned_and_a_longer_direction_and_none():
    a = np.array([[1, 0], [1, 1], [0, 0]], np.float32)
    found = changes(a, np.array([[0, 2], [-3, -3], [1, 0]], np.float32))
    assert found.cosine[:2] == pytest.approx([0, -1]) and found.norm_ratio[:2] == pytest.approx([2, 3])
    assert np.isnan(found.cosine[2]) and np.isnan(found.norm_ratio[2])
