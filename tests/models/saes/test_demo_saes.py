"""The SAEs of the demo model, and what their hooks give on a model with norms after attention and MLP."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn
from train_demo_saes import HELD_OUT_DOCUMENTS, HOOKS, Place, Reader, texts

from neuron_signatures.demo import saes_dir
from neuron_signatures.models.load import LoadedModel, bridge_beside, load_model
from neuron_signatures.models.saes.fit import SaeModel, sae_model_of
from neuron_signatures.models.saes.load import saes_of
from neuron_signatures.models.saes.quality import QualityMeter
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.errors import UsageError

SITES = ("res", "att", "mlp")
N_LAYERS = 5


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(ModelSpec("demo", dtype="fp32", device="cpu"))


def hooked(model: LoadedModel, text: str, names: list[str]) -> dict[str, Tensor]:
    """Activations at hooks of a bridge, by the name that was asked for."""
    found: dict[str, Tensor] = {}

    def take(name):
        return lambda x, hook: found.__setitem__(name, x[0].clone())

    ids = model.tokenizer(text, return_tensors="pt").input_ids
    bridge = bridge_beside(model)
    with torch.inference_mode(), bridge.hooks(fwd_hooks=[(name, take(name)) for name in names]):
        bridge(ids, return_type=None)
    return found


def test_the_hooks_are_terms_of_the_residual_stream_after_the_post_norms(model):
    names = ["hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post", "attn.hook_z"]
    text = "The capital of Texas is Austin."
    found = hooked(model, text, [f"blocks.{layer}.{name}" for layer in range(N_LAYERS) for name in names])
    seen: dict[tuple[int, str], Tensor] = {}
    handles = []

    def keep(module: nn.Module, key: tuple[int, str], *, its_input: bool = False) -> None:
        if its_input:
            handles.append(module.register_forward_pre_hook(lambda _, args: seen.__setitem__(key, args[0][0])))
        else:
            handles.append(module.register_forward_hook(lambda m, args, out: seen.__setitem__(key, out[0])))

    for n, layer in enumerate(model.hf.model.layers):
        keep(layer.post_feedforward_layernorm, (n, "mlp"))
        keep(layer.self_attn.o_proj, (n, "att"), its_input=True)
    with torch.inference_mode():
        model.hf(model.tokenizer(text, return_tensors="pt").input_ids)
    for handle in handles:
        handle.remove()
    for layer in range(N_LAYERS):
        pre, attention, mlp, post, z = (found[f"blocks.{layer}.{name}"] for name in names)
        torch.testing.assert_close(pre + attention + mlp, post, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mlp, seen[layer, "mlp"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(z.flatten(-2), seen[layer, "att"], rtol=1e-5, atol=1e-5)


def test_shape_of_the_demo_model(model):
    assert sae_model_of(model) == SaeModel("demo", N_LAYERS, 128, 128)


def test_every_site_of_every_layer_has_an_sae(model):
    sources = saes_of("demo", model=sae_model_of(model))
    assert [(s.site, s.layer) for s in sources] == [(site, layer) for site in SITES for layer in range(N_LAYERS)]
    for source in sources:
        assert source.name == f"{source.site}_L{source.layer}" and source.origin == f"demo/{source.name}"
        sae = source.load("cpu")
        cfg = json.loads((saes_dir() / source.name / "cfg.json").read_text())
        assert cfg["metadata"]["hook_name"] == HOOKS[sae.site].format(sae.layer)
        torch.testing.assert_close(sae.W_dec.norm(dim=-1), torch.ones(sae.d_sae), rtol=1e-3, atol=1e-3)
    assert sum(file.stat().st_size for file in saes_dir().rglob("*") if file.is_file()) < 8e6


def test_they_reconstruct_held_out_documents_and_only_at_their_own_hook(model):
    """Also the bound for what is recorded in training.json, which is measured on more documents."""
    shape = sae_model_of(model)
    places = [Place(site, layer) for site in SITES for layer in range(N_LAYERS)]
    stream = texts(HELD_OUT_DOCUMENTS + 7)
    acts = Reader(model, places).activations([next(stream) for _ in range(120)])
    recorded = json.loads((saes_dir() / "training.json").read_text())["quality"]
    for source in saes_of("demo", model=shape):
        own, other = QualityMeter(source.load("cpu")), QualityMeter(source.load("cpu"))
        row = places.index(Place(source.site, source.layer))
        own.add(acts[row])
        other.add(acts[(row + N_LAYERS) % len(places)])  # the same layer, another site
        quality, wrong = own.result(), other.result()
        assert quality.fvu is not None and wrong.fvu is not None
        assert quality.fvu < 0.2 and wrong.fvu > 0.5, source.name
        assert 8 < quality.l0 < 32
        assert quality.fvu == pytest.approx(recorded[source.name]["fvu"], abs=0.06)
        assert quality.l0 == pytest.approx(recorded[source.name]["l0"], rel=0.35)
        assert recorded[source.name]["dead_share"] < 0.05


def test_they_belong_to_the_demo_model():
    with pytest.raises(UsageError, match="trained on model 'demo', and this model is 'other'"):
        saes_of("demo", model=SaeModel("other", N_LAYERS, 128, 128))
    checkpoint = SaeModel("neuron_signatures/demo/checkpoints/step-000250", N_LAYERS, 128, 128)
    assert len(saes_of("demo", model=checkpoint, force=True)) == 3 * N_LAYERS
    with pytest.raises(UsageError, match="has 64"):
        saes_of("demo", model=SaeModel("demo", N_LAYERS, 64, 64))


def test_bos_and_padding_are_left_out(model):
    """Documents together give what each gives alone."""
    places = [Place("res", 1), Place("att", 1)]
    reader, some = Reader(model, places), ["The capital of Texas is", "x = 1", "I feel sad."]
    together = reader.activations(some)
    lengths = [len(model.tokenizer(text).input_ids) - 1 for text in some]
    assert together.shape == (2, sum(lengths), 128)
    alone = torch.cat([reader.activations([text]) for text in some], dim=1)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
