"""The rules of relevance propagation keep values, and the scales of embeddings and biases are leaves of 1."""

from __future__ import annotations

import pytest
import torch
from attribution_cases import BIAS_FREE, TARGET_POS, loaded, problem_of, target_of
from tiny_models import ARCHITECTURES, build_model
from torch import Tensor, nn

from neuron_signatures.models.relevance import eager_attention, relevance_rules, slope
from neuron_signatures.models.scale_leaves import scale_leaves
from neuron_signatures.runs.errors import UsageError


def hidden(name: str) -> Tensor:
    problem = problem_of(loaded(name).hf, target_of(name))
    return problem.suffix().run_all(1)


@pytest.mark.parametrize(("act", "want"), [(nn.SiLU(), 0.5), (nn.GELU(), 0.5), (nn.ReLU(), 0.0)])
def test_the_slope_at_0_is_the_derivative(act: nn.Module, want: float) -> None:
    z = torch.tensor([0.0, 1.0, -2.0], requires_grad=True)
    found = slope(act, z, act(z))
    assert not found.requires_grad
    assert found.tolist() == pytest.approx([want, *(float(act(torch.tensor(x))) / x for x in (1.0, -2.0))])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_values_stay(name: str) -> None:
    hf = loaded(name).hf
    want = hidden(name)
    with relevance_rules(hf, eager=True), scale_leaves(hf, TARGET_POS + 1):
        assert torch.allclose(hidden(name), want, atol=2e-6)
    with eager_attention(hf):
        assert torch.allclose(hidden(name), want, atol=2e-6)
    assert torch.equal(hidden(name), want)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_output_is_linear_in_the_scales(name: str) -> None:
    """Embeddings and biases give the unembedding's input together; models without biases have no gradient by them."""
    hf = loaded(name).hf
    direction = torch.randn(hf.config.hidden_size, generator=torch.Generator().manual_seed(1))
    with relevance_rules(hf), scale_leaves(hf, TARGET_POS + 1) as leaves, torch.enable_grad():
        value = hidden(name)[0, -1] @ direction
        sources = [leaves.embedding, *leaves.biases]
        grads = torch.autograd.grad(value, sources, allow_unused=True, materialize_grads=True)
    size = sum(float(g.abs().sum()) for g in grads)
    assert sum(float(g.sum()) for g in grads) == pytest.approx(float(value.detach()), abs=1e-5 * size)
    assert any(bool(g.any()) for g in grads[1:]) == (name not in BIAS_FREE and name != "gemma")


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe"])
def test_mixtures_of_experts_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="mixture of experts"), relevance_rules(build_model(name)):
        pass


def test_models_with_the_norms_after_the_layers_are_refused() -> None:
    """As OPT-350m."""
    hf = build_model("opt", do_layer_norm_before=False, word_embed_proj_dim=16)
    with pytest.raises(UsageError, match="expected one norm after the last layer, found 0"), relevance_rules(hf):
        pass
