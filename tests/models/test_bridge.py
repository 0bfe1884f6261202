"""What the TransformerBridge gives equals what plain forward passes give, for every verified architecture."""

from __future__ import annotations

import pytest
import torch
from tiny_models import ARCHITECTURES, CONFIGS, MIXTURES, N_LAYERS, VOCAB, build_model, tiny_model_dir
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from neuron_signatures.models import bridge as bridge_module
from neuron_signatures.models.bridge import BridgeCapture, bridge_shape, open_capture
from neuron_signatures.models.capture import MlpCapture, mlp_shape, pad_batch
from neuron_signatures.models.load import LoadedModel, ModelSpec, load_model, to_bridge
from neuron_signatures.models.suffix import Suffix
from neuron_signatures.runs.errors import UsageError

CPU = torch.device("cpu")
LENGTHS = (9, 17, 1, 4)  # longer and shorter than the sliding window


def load(name: str) -> LoadedModel:
    return load_model(ModelSpec(str(tiny_model_dir(name)), dtype="fp32", device="cpu"))


def prompts() -> list[list[int]]:
    return [torch.randint(5, VOCAB, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in LENGTHS]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equals_plain_forwards_also_with_padding_and_some_layers(name: str) -> None:
    plain = load(name)
    shape = mlp_shape(plain.hf)
    with MlpCapture(plain.hf) as capture:
        alone = [capture.run(*pad_batch([ids], device=CPU)) for ids in prompts()]
    bridge = to_bridge(load(name))
    batch = pad_batch(prompts(), device=CPU)
    with BridgeCapture(bridge) as capture:
        together = capture.run(*batch)
    with BridgeCapture(bridge, [2, 0]) as capture:
        some = capture.run(*batch)
    assert bridge_shape(bridge) == shape and len(together) == N_LAYERS
    assert torch.equal(some[0], together[2]) and torch.equal(some[1], together[0])
    for row, (n, want) in enumerate(zip(LENGTHS, alone, strict=True)):
        for layer in range(N_LAYERS):
            torch.testing.assert_close(together[layer][row, :n], want[layer][0], rtol=1e-4, atol=2e-5)


def test_a_sink_gets_each_layer_once_and_hooks_are_removed() -> None:
    bridge = to_bridge(load("llama"))
    capture = BridgeCapture(bridge, [0, 2])
    rows: list[int] = []
    for entries in (1, 2):  # a dump enters it twice
        with capture:
            kept = capture.run(torch.tensor([[5, 6]]), None, lambda row, acts: rows.append(row))
        assert (rows, kept) == ([0, 1] * entries, [])
        assert not any(point.fwd_hooks for point in bridge.hook_points())
    with pytest.raises(AssertionError):
        capture.run(torch.tensor([[5, 6]]))


@pytest.mark.parametrize("name", MIXTURES)
def test_mixture_of_experts_is_refused(name: str) -> None:
    hf = build_model(name)
    hf.config.architectures = [type(hf).__name__]
    model = LoadedModel(hf, load("llama").tokenizer, ModelSpec(name), CPU)
    with pytest.raises(UsageError, match=r"block 0 .*mixture of experts \(MoEBridge\)"):
        BridgeCapture(to_bridge(model))


def test_layers_of_different_widths_are_refused() -> None:
    model = load("llama")
    mlp = model.hf.model.layers[1].mlp
    mlp.gate_proj, mlp.up_proj = nn.Linear(32, 40, bias=False), nn.Linear(32, 40, bias=False)
    mlp.down_proj = nn.Linear(40, 32, bias=False)
    with pytest.raises(UsageError, match="layer 0 has 88 neurons but layer 1 has 40"):
        BridgeCapture(to_bridge(model))


def test_a_model_that_transformer_lens_does_not_know_is_refused() -> None:
    config = AutoConfig.for_model("persimmon", **CONFIGS["phi"])
    config.architectures = ["PersimmonForCausalLM"]
    hf = AutoModelForCausalLM.from_config(config)
    with pytest.raises(UsageError, match="TransformerLens cannot adapt PersimmonForCausalLM: ") as refused:
        to_bridge(LoadedModel(hf, load("llama").tokenizer, ModelSpec("other"), CPU))
    assert "--backend transformers" in str(refused.value)


def test_a_bridge_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = prompts()[0]
    assert isinstance(open_capture(load("gpt2"), [0, 2], "transformer_lens", token_ids=ids), BridgeCapture)
    assert isinstance(open_capture(load("gpt2"), [0, 2], "transformers", token_ids=ids), MlpCapture)

    other = load("llama")
    with torch.no_grad():
        other.hf.model.layers[1].self_attn.q_proj.weight.neg_()
    changed = to_bridge(other)
    monkeypatch.setattr(bridge_module, "to_bridge", lambda model: changed)
    with pytest.raises(UsageError, match="logits of its TransformerBridge differ"):
        open_capture(load("llama"), [0, 2], "transformer_lens", token_ids=ids)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_edits_in_a_suffix_pass_equal_edits_through_the_bridge(name: str) -> None:
    """So stage 2, which runs edited copies as suffix passes, needs no bridge."""
    ids, layer, first, neuron, value = prompts()[0], 1, 5, 7, 30.0

    def set_in_suffix(at: int, acts: Tensor) -> Tensor:
        acts = acts.clone()
        acts[:, 0, neuron] = value
        return acts

    plain = load(name).hf
    with torch.inference_mode():
        suffix = Suffix(plain, ids, first=first, last=len(ids) - 1)
        clean = suffix.run(1)
        edited = suffix.run(1, set_in_suffix, [layer])

    def set_in_bridge(acts: Tensor, hook: object) -> Tensor:
        acts = acts.clone()
        acts.view(len(ids), -1)[first, neuron] = value
        return acts

    def read(acts: Tensor, hook: object) -> None:
        final.append(acts[:, -1])

    bridge, final = to_bridge(load(name)), []
    with torch.inference_mode():
        for edit in ([], [(f"blocks.{layer}.mlp.hook_post", set_in_bridge)]):
            bridge.run_with_hooks(torch.tensor([ids]), return_type=None, fwd_hooks=[*edit, ("unembed.hook_in", read)])
    torch.testing.assert_close(clean, final[0], rtol=1e-4, atol=5e-5)
    torch.testing.assert_close(edited, final[1], rtol=1e-4, atol=5e-5)
    assert float((edited - clean).norm() / clean.norm()) > 0.01
