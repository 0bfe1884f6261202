"""The sites of a plain forward pass equal the hook points of the TransformerBridge that `Site` names."""

from __future__ import annotations

import pytest
import torch
from tiny_models import ARCHITECTURES, D_MODEL, MIXTURES, N_LAYERS, VOCAB, build_model, tiny_model_dir
from torch import Tensor, nn

from neuron_signatures.models.capture import MlpCapture, decoder_layers, pad_batch
from neuron_signatures.models.load import LoadedModel, load_model, to_bridge
from neuron_signatures.models.sites import Place, SiteCapture, site_width
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import SITES, Site

CPU = torch.device("cpu")
HOOKS: dict[Site, str] = {
    "res": "blocks.{}.hook_resid_post",
    "att": "blocks.{}.attn.hook_z",
    "mlp": "blocks.{}.hook_mlp_out",
    "neuron": "blocks.{}.mlp.hook_post",
}
ALL = [Place(site, layer) for layer in range(N_LAYERS) for site in SITES]


def load(name: str) -> LoadedModel:
    source = "demo" if name == "demo" else str(tiny_model_dir(name))
    return load_model(ModelSpec(source, dtype="fp32", device="cpu"))


def prompts(*lengths: int) -> list[list[int]]:
    return [torch.randint(5, VOCAB, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in lengths]


def from_bridge(model: LoadedModel, ids: Tensor, places: list[Place]) -> dict[Place, Tensor]:
    found: dict[Place, Tensor] = {}

    def keep(place: Place):
        def hook(values: Tensor, hook: object) -> None:
            found[place] = values.flatten(2)

        return hook

    hooks = [(HOOKS[place.site].format(place.layer), keep(place)) for place in places]
    with torch.inference_mode():
        to_bridge(model).run_with_hooks(ids, return_type=None, fwd_hooks=hooks)
    return found


@pytest.mark.parametrize("name", [*ARCHITECTURES, "demo"])
def test_all_sites_equal_those_of_the_bridge(name: str) -> None:
    plain = load(name)
    places = [Place(site, layer) for layer in range(len(decoder_layers(plain.hf))) for site in SITES]
    ids = torch.tensor(prompts(12))
    with SiteCapture(plain.hf, places) as capture:
        found = capture.run(ids)
    want = from_bridge(load(name), ids, places)
    assert list(found) == places and set(want) == set(places)
    for place in places:
        torch.testing.assert_close(found[place], want[place], rtol=1e-4, atol=5e-5, msg=str(place))
        assert found[place].shape[-1] == capture.widths[place] == site_width(plain.hf, place.site)
    with MlpCapture(plain.hf) as neurons:
        for layer, acts in enumerate(neurons.run(ids)):
            assert torch.equal(acts, found[Place("neuron", layer)])


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_mlp_is_read_after_the_norm_that_follows_it(name: str) -> None:
    """Then the stream grows by attention plus MLP, which the output of the projection would not give."""
    hf, ids = load(name).hf, torch.tensor(prompts(12))
    layer = decoder_layers(hf)[1]
    attended: list[Tensor] = []
    with layer.post_attention_layernorm.register_forward_hook(lambda module, args, out: attended.append(out)):
        places = [Place("res", 0), Place("mlp", 1), Place("res", 1)]
        with SiteCapture(hf, places) as capture:
            before, mlp, after = capture.run(ids).values()
    torch.testing.assert_close(before + attended[0] + mlp, after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "opt", "gpt_neox"])
def test_any_subset_and_padding_on_the_right_change_nothing(name: str) -> None:
    hf = load(name).hf
    lengths = (9, 17, 1, 4)
    batch = pad_batch(prompts(*lengths), device=CPU)
    with SiteCapture(hf, ALL) as capture:
        alone = [capture.run(torch.tensor([ids])) for ids in prompts(*lengths)]
        together = capture.run(*batch)
    some = [Place("att", 2), Place("neuron", 0), Place("mlp", 1)]
    with SiteCapture(hf, some) as capture:
        subset = capture.run(*batch)
    assert list(subset) == some and all(torch.equal(subset[place], together[place]) for place in some)
    for row, n in enumerate(lengths):
        for place in ALL:
            torch.testing.assert_close(together[place][row, :n], alone[row][place][0], rtol=1e-4, atol=2e-5)


def test_a_sink_gets_each_place_once_in_the_order_of_the_pass() -> None:
    hf, seen = load("gpt2").hf, []
    with SiteCapture(hf, ALL) as capture:
        kept = capture.run(torch.tensor([[5, 6]]), None, lambda site, layer, values: seen.append((site, layer)))
    assert kept == {} and sorted(seen) == sorted(ALL)
    assert [layer for _, layer in seen] == sorted(layer for _, layer in seen)


def test_hooks_are_removed_after_an_error_and_the_capture_can_be_entered_again() -> None:
    hf = load("gemma2").hf

    def fail(site: Site, layer: int, values: Tensor) -> None:
        raise RuntimeError("no space")

    capture = SiteCapture(hf, ALL)
    with pytest.raises(RuntimeError, match="no space"), capture:
        capture.run(torch.tensor([[5, 6]]), None, fail)
    hooks = [m._forward_hooks or m._forward_pre_hooks for m in hf.modules()]
    assert not any(hooks)
    with capture:
        assert len(capture.run(torch.tensor([[5, 6]]))) == len(ALL)
    with pytest.raises(AssertionError):
        capture.run(torch.tensor([[5, 6]]))


def test_unknown_places_are_refused() -> None:
    hf = load("llama").hf
    with pytest.raises(UsageError, match=r"layer 3 of LlamaModel.*a layer in 0\.\.2"):
        SiteCapture(hf, [Place("res", N_LAYERS)])
    with pytest.raises(UsageError, match="a place is one of res, att, mlp, neuron"):
        SiteCapture(hf, [Place("head", 0)])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="asked for twice"):
        SiteCapture(hf, [Place("res", 0), Place("res", 0)])


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_of_experts_has_a_stream_and_attention_but_no_neurons(name: str) -> None:
    hf = build_model(name)
    with SiteCapture(hf, [Place("res", 1), Place("att", 1)]) as capture:
        found = capture.run(torch.tensor(prompts(5)))
    assert {place.site: values.shape[-1] for place, values in found.items()} == {"res": D_MODEL, "att": D_MODEL}
    for site in ("neuron", "mlp"):
        with pytest.raises(UsageError, match="mixture of experts"):
            SiteCapture(hf, [Place(site, 1)])


def test_layers_of_different_widths_are_refused() -> None:
    hf = load("llama").hf
    mlp = hf.model.layers[1].mlp
    mlp.gate_proj, mlp.up_proj = nn.Linear(32, 40, bias=False), nn.Linear(32, 40, bias=False)
    mlp.down_proj = nn.Linear(40, 32, bias=False)
    with pytest.raises(UsageError, match="neuron has width 88 in layer 0 and 40 in layer 1"):
        site_width(hf, "neuron")
