"""Edits of a site in plain forward passes equal hooks of the TransformerBridge at the same hook point."""

from __future__ import annotations

import pytest
import torch
from attribution_cases import loaded
from tiny_models import VOCAB
from torch import Tensor

from neuron_signatures.interventions.session import Session
from neuron_signatures.models.capture import backbone, decoder_layers, pad_batch
from neuron_signatures.models.site_edits import layers_return, site_edited
from neuron_signatures.models.sites import Place, SiteCapture
from neuron_signatures.runs.skills.banks import SITES, Site

HOOKS: dict[Site, str] = {
    "res": "blocks.{}.hook_resid_post",
    "att": "blocks.{}.attn.hook_z",
    "mlp": "blocks.{}.hook_mlp_out",
    "neuron": "blocks.{}.mlp.hook_post",
}


def ids(n: int = 9) -> list[int]:
    return torch.randint(5, VOCAB, (n,), generator=torch.Generator().manual_seed(n)).tolist()


def rolled(values: Tensor, first: int) -> Tensor:
    """Moves the values along the width at every position but the first. (A norm may follow, which undoes a scale.)"""
    start = 1 if first == 0 else 0
    return torch.cat([values[:, :start], values[:, start:].roll(1, -1)], dim=1)


@torch.no_grad()
def last_hidden(hf, token_ids: list[int]) -> Tensor:
    return backbone(hf)(input_ids=torch.tensor([token_ids]), use_cache=False).last_hidden_state


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gemma3", "llama", "gpt_neox", "opt", "demo"])
def test_an_edit_equals_a_hook_of_the_bridge(name: str, site: Site) -> None:
    model, token_ids = loaded(name), ids()
    session = Session(model, tuple(token_ids))

    def hook(values: Tensor, hook: object) -> Tensor:
        return torch.cat([values[:, :1], values[:, 1:].flatten(2).roll(1, -1).view_as(values[:, 1:])], dim=1)

    want = session._pass(token_ids, [(HOOKS[site].format(1), hook)])
    with site_edited(model.hf, Place(site, 1), rolled), torch.no_grad():
        found = model.hf(torch.tensor([token_ids]), use_cache=False).logits[0]
    clean = model.hf(torch.tensor([token_ids]), use_cache=False).logits[0]
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[1:], clean[1:], atol=1e-4)
    torch.testing.assert_close(found[0], clean[0], rtol=1e-5, atol=1e-5)


def test_the_tensor_that_follows_is_the_edited_one() -> None:
    """Adding a vector changes `hook_resid_post` by exactly that vector, at every position but the first."""
    hf, token_ids = loaded("demo").hf, ids()
    vector = torch.linspace(-1, 1, 128)
    place = Place("res", 2)
    with SiteCapture(hf, [place]) as capture:
        before = capture.run(torch.tensor([token_ids]))[place].clone()
    edit = lambda values, first: torch.cat([values[:, :1], values[:, 1:] + vector], dim=1)  # noqa: E731
    # hooks run in the order in which they are registered
    with site_edited(hf, place, edit), SiteCapture(hf, [place]) as capture:
        after = capture.run(torch.tensor([token_ids]))[place]
    assert torch.equal(after[:, 1:], before[:, 1:] + vector)
    assert torch.equal(after[:, 0], before[:, 0])


def test_generation_with_a_cache_is_edited_at_every_new_position() -> None:
    """Greedy tokens equal those of passes over the whole text."""
    hf, token_ids = loaded("demo").hf, ids(5)
    with site_edited(hf, Place("mlp", 3), rolled), torch.no_grad():
        given = torch.tensor([token_ids])
        out = hf.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=6, do_sample=False,
                          eos_token_id=-1)[0].tolist()  # fmt: skip
        text = list(token_ids)
        for _ in range(6):
            text.append(int(hf(torch.tensor([text]), use_cache=False).logits[0, -1].argmax()))
    assert out == text


def test_layers_that_are_not_run_return_what_they_are_told() -> None:
    hf, token_ids = loaded("demo").hf, ids()
    layers = decoder_layers(hf)
    outputs: list[Tensor] = []
    handle = layers[1].register_forward_hook(lambda _, __, out: outputs.append(out))
    want = last_hidden(hf, token_ids)
    handle.remove()
    with layers_return(layers[:2], outputs[0]):
        assert torch.equal(last_hidden(hf, ids(9)[::-1]), want)
    assert torch.equal(last_hidden(hf, token_ids), want)


def test_a_batch_may_be_padded() -> None:
    hf = loaded("demo").hf
    batch = pad_batch([ids(9), ids(4)], device=torch.device("cpu"))
    with site_edited(hf, Place("res", 1), rolled), torch.no_grad():
        both = backbone(hf)(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        alone = last_hidden(hf, ids(4))
    torch.testing.assert_close(both[1, :4], alone[0], rtol=1e-4, atol=1e-5)
