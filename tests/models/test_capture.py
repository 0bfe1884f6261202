"""Captured activations are the input of the MLP's output projection, for every supported architecture."""

from __future__ import annotations

import functools

import jaxtyping
import pytest
import torch
from tiny_models import ARCHITECTURES, CONFIGS, D_MLP, MIXTURES, N_LAYERS, VOCAB, build_model, tiny_model_dir
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.models.capture import (
    MlpCapture,
    backbone,
    mlp_shape,
    output_projections,
    pad_batch,
)
from neuron_signatures.models.load import LoadedModel, ModelSpec, load_model, to_bridge
from neuron_signatures.runs.errors import UsageError

PROJECTION = {
    "gpt2": "transformer.h.{}.mlp.c_proj",
    "phi": "model.layers.{}.mlp.fc2",
    "gpt_neox": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    "opt": "model.decoder.layers.{}.fc2",
}
# transformer-lens splits these models' fused weights into several smaller matrices, which rounds differently.
FUSED_WEIGHTS = ("gpt2", "phi3")
LENGTH = 17  # longer than the sliding window


@functools.cache
def shared(name: str) -> PreTrainedModel:
    """The model of this architecture, for tests that do not change it."""
    return load(name).hf


def load(name: str) -> LoadedModel:
    return load_model(ModelSpec(str(tiny_model_dir(name)), dtype="fp32", device="cpu"))


def random_ids(length: int = LENGTH, seed: int = 0) -> list[int]:
    return torch.randint(5, VOCAB, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def plain_hook_acts(name: str, hf: PreTrainedModel, input_ids: Tensor) -> list[Tensor]:
    """The inputs of the projections, named explicitly, in a forward pass of the whole model."""
    seen: dict[int, Tensor] = {}
    path = PROJECTION.get(name, "model.layers.{}.mlp.down_proj")
    handles = [
        hf.get_submodule(path.format(i)).register_forward_pre_hook(
            lambda _, args, i=i: seen.__setitem__(i, args[0].detach().clone())
        )
        for i in range(N_LAYERS)
    ]
    with torch.no_grad():
        hf(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
    for handle in handles:
        handle.remove()
    return [seen[i].view(*input_ids.shape, -1) for i in range(N_LAYERS)]


def captured(hf: PreTrainedModel, *batch: Tensor | None) -> list[Tensor]:
    with MlpCapture(hf) as capture:
        return capture.run(*batch)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_captured_equals_a_forward_hook_bit_for_bit(name: str) -> None:
    hf = shared(name)
    ids = torch.tensor([random_ids()])
    want = plain_hook_acts(name, hf, ids)
    for mask in (None, torch.ones_like(ids)):
        got = captured(hf, ids, mask)
        assert len(got) == N_LAYERS
        for g, w in zip(got, want, strict=True):
            assert torch.equal(g, w)
    assert len({float(w.sum()) for w in want}) == N_LAYERS


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equals_the_bridge(name: str) -> None:
    """Bit for bit in eager attention; SDPA, where the model uses it, differs by rounding only."""
    model, other = load(name), load(name)
    ids = torch.tensor([random_ids()])
    as_loaded = captured(model.hf, ids)
    model.hf.set_attn_implementation("eager")
    eager = captured(model.hf, ids)
    bridge = to_bridge(other)
    with torch.no_grad():
        _, cache = bridge.run_with_cache(ids)
    for layer in range(N_LAYERS):
        hook_post = cache[f"blocks.{layer}.mlp.hook_post"].view(eager[layer].shape)
        if name in FUSED_WEIGHTS:
            torch.testing.assert_close(eager[layer], hook_post, rtol=1e-4, atol=5e-6)
        else:
            assert torch.equal(eager[layer], hook_post)
        torch.testing.assert_close(as_loaded[layer], hook_post, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padded_batch_equals_one_by_one(name: str) -> None:
    hf = shared(name)
    prompts = [random_ids(length, seed=length) for length in (9, 17, 1, 4)]
    batch = pad_batch(prompts, device=torch.device("cpu"))
    assert batch.attention_mask is not None and batch.attention_mask.sum(1).tolist() == [9, 17, 1, 4]
    together = captured(hf, *batch)
    for row, ids in enumerate(prompts):
        alone = captured(hf, *pad_batch([ids], device=torch.device("cpu")))
        for layer in range(N_LAYERS):
            torch.testing.assert_close(together[layer][row, : len(ids)], alone[layer][0], rtol=1e-4, atol=1e-5)


def test_a_missing_attention_mask_changes_the_activations() -> None:
    """So the batch test can fail: left padding without a mask reaches later positions."""
    hf = shared("llama")
    ids = random_ids(6)
    alone = captured(hf, torch.tensor([ids]))[1][0]
    left_padded = captured(hf, torch.tensor([[7, 7, *ids]]))[1][0, 2:]
    assert not torch.allclose(alone, left_padded, atol=1e-3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_width_is_that_of_the_weights(name: str) -> None:
    hf = shared(name)
    assert mlp_shape(hf) == (N_LAYERS, CONFIGS["opt"]["ffn_dim"] if name == "opt" else D_MLP)
    assert all(m is hf.get_submodule(m_name) for m, m_name in zip(output_projections(hf), names_of(name), strict=True))


def names_of(name: str) -> list[str]:
    path = PROJECTION.get(name, "model.layers.{}.mlp.down_proj")
    return [path.format(i) for i in range(N_LAYERS)]


def test_backbone_computes_no_logits() -> None:
    hf = shared("gemma2")
    called = []
    handle = hf.lm_head.register_forward_pre_hook(lambda *_: called.append(1))
    captured(hf, torch.tensor([[5, 6]]))
    handle.remove()
    assert not called and backbone(hf) is hf.model


def test_chosen_layers_come_in_the_requested_order() -> None:
    hf = shared("gpt2")
    ids = torch.tensor([random_ids()])
    everything = captured(hf, ids)
    with MlpCapture(hf, layers=[2, 0]) as capture:
        got = capture.run(ids)
    assert len(got) == 2 and torch.equal(got[0], everything[2]) and torch.equal(got[1], everything[0])
    with pytest.raises(UsageError, match=r"0\.\.2"):
        MlpCapture(hf, layers=[3])


def test_hooks_are_removed_after_an_error() -> None:
    hf = shared("gpt2")
    with pytest.raises(IndexError), MlpCapture(hf) as capture:
        capture.run(torch.tensor([[VOCAB + 1]]))
    assert not any(m._forward_pre_hooks for m in hf.modules())
    with pytest.raises(AssertionError):
        capture.run(torch.tensor([[1]]))


@pytest.mark.parametrize("name", MIXTURES)
def test_mixture_of_experts_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"layer 0 .*DecoderLayer.*mixture of experts .*MoeBlock"):
        MlpCapture(build_model(name))


def test_layers_of_different_widths_are_refused() -> None:
    hf = build_model("llama")
    mlp = hf.model.layers[1].mlp
    mlp.gate_proj, mlp.up_proj = nn.Linear(32, 40, bias=False), nn.Linear(32, 40, bias=False)
    mlp.down_proj = nn.Linear(40, 32, bias=False)
    with pytest.raises(UsageError, match="layer 0 has 88 neurons but layer 1 has 40"):
        mlp_shape(hf)


def test_an_unknown_mlp_is_refused_with_a_list_of_its_modules() -> None:
    hf = build_model("llama")
    mlp = hf.model.layers[2].mlp
    mlp.shrink = mlp.down_proj
    del mlp.down_proj
    with pytest.raises(UsageError, match=r"layer 2 .*into d_model 32, found 0 among: .*shrink \(88, 32\)"):
        output_projections(hf)


def test_a_projection_that_is_bypassed_or_gets_another_width_is_refused() -> None:
    """A width that differs from that of the first batch is an error before anything is written."""
    hf = build_model("llama")
    down = hf.model.layers[1].mlp.down_proj
    hf.model.layers[1].mlp.forward = lambda x: x @ torch.zeros(32, 32)
    with pytest.raises(UsageError, match=r"layer 1 .*\(1, 2, 88\), found nothing"):
        captured(hf, torch.tensor([[5, 6]]))
    down.forward = lambda x: x[..., :32]
    hf.model.layers[1].mlp.forward = lambda x: down(x)
    with pytest.raises(UsageError, match=r"layer 1 .*\(1, 2, 88\), found shape \(1, 2, 32\)"):
        captured(hf, torch.tensor([[5, 6]]))


def test_shape_annotations_are_checked_in_tests() -> None:
    """A tensor of the wrong rank is refused before the model runs."""
    with MlpCapture(shared("gpt2")) as capture, pytest.raises(jaxtyping.TypeCheckError):
        capture.run(torch.tensor([1, 2, 3]))


def test_bf16_activations_are_bf16() -> None:
    model = load_model(ModelSpec(str(tiny_model_dir("gemma2")), dtype="bf16", device="cpu"))
    assert {a.dtype for a in captured(model.hf, torch.tensor([[5, 6, 7]]))} == {torch.bfloat16}
