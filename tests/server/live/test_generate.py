"""Generation with edits equals whole forward passes with the same edits, one per new token."""

from __future__ import annotations

import pytest
import torch
from attribution_cases import loaded
from intervention_cases import plain_logits, session
from live_cases import DALLAS, IDS, held, never
from tiny_models import ARCHITECTURES

from neuron_signatures.api.live import EditMessage, GenerateRequest
from neuron_signatures.interventions.edits import Edit
from neuron_signatures.interventions.generation import continue_text
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.server.live.generate import generate

N_NEW = 5
MANY = list(range(30))
TEXT = IDS[:5]


def by_hand(name: str, edit, ids=TEXT) -> list[int]:
    """The most likely token after each whole forward pass; `edit` changes the activations of layer 1."""
    found = list(ids)
    for _ in range(N_NEW):
        found.append(int(plain_logits(loaded(name).hf, [found], {1: edit})[0, -1].argmax()))
    return found[len(ids) :]


def everywhere(acts):
    acts[:, :, MANY] *= -3
    return acts


def in_the_text(acts):
    acts[:, 3, MANY] = 6.0
    return acts


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_generation_is_that_of_whole_forward_passes(name):
    for edit, message in (
        (everywhere, EditMessage(layer=1, neurons=MANY, kind="scale", value=-3.0)),
        (in_the_text, EditMessage(layer=1, neurons=MANY, kind="set", value=6.0, positions=[-2])),
    ):
        request = GenerateRequest(token_ids=TEXT, edits=(message,), max_new_tokens=N_NEW)
        found = generate(held(name), request, never)
        wanted, plain = by_hand(name, edit), by_hand(name, lambda acts: acts)
        assert [t.token_id for t in found.edited.tokens] == wanted[: len(found.edited.tokens)]
        assert [t.token_id for t in found.plain.tokens] == plain[: len(found.plain.tokens)]
        assert [t.pos for t in found.edited.tokens] == list(range(5, 5 + len(found.edited.tokens)))
        assert found.edited.finished or len(found.edited.tokens) == N_NEW
        assert bool(found.warnings) == (message.positions is None)


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "opt", "phi3"])
@pytest.mark.parametrize("use_cache", [True, False], ids=["cache", "no cache"])
def test_a_cache_changes_nothing_and_a_bridge_gives_the_same(name, use_cache):
    for edits in ([Edit(1, tuple(MANY), None, "scale", -3.0)], [Edit(1, tuple(MANY), (5, 7), "set", 6.0)]):
        for ids in (TEXT, [9]):
            found = continue_text(loaded(name), ids, edits, max_new_tokens=N_NEW, use_cache=use_cache)
            assert found.token_ids == session(name).generate(ids, edits, max_new_tokens=N_NEW)


@pytest.mark.parametrize(
    ("fields", "new"),
    [
        ({"kind": "zero"}, lambda a: 0 * a),
        ({"kind": "set", "value": 2.5}, lambda a: 0 * a + 2.5),
        ({"kind": "add", "value": 4.0}, lambda a: a + 4),
        ({"kind": "scale", "value": -2.0}, lambda a: -2 * a),
        ({"kind": "flip"}, lambda a: -a),
    ],
)
def test_every_kind_of_edit(fields, new):
    def edit(acts):
        acts[:, :, MANY] = new(acts[:, :, MANY])
        return acts

    request = GenerateRequest(
        token_ids=TEXT, edits=(EditMessage(layer=1, neurons=MANY, **fields),), max_new_tokens=N_NEW, compare=False
    )
    found = generate(held("llama"), request, never)
    assert [t.token_id for t in found.edited.tokens] == by_hand("llama", edit) and found.plain is None


def test_edits_of_one_neuron_apply_in_their_order():
    edits = [
        EditMessage(layer=1, neurons=MANY, kind="set", value=2.0),
        EditMessage(layer=1, neurons=MANY, kind="scale", value=3.0),
    ]
    found = [
        generate(held("llama"), GenerateRequest(token_ids=TEXT, edits=tuple(some), max_new_tokens=N_NEW), never).edited
        for some in (edits, edits[::-1], [EditMessage(layer=1, neurons=MANY, kind="set", value=6.0)])
    ]
    assert found[0] == found[2] != found[1]


def test_without_edits_there_is_only_the_plain_text():
    found = generate(held("demo"), GenerateRequest(text=DALLAS, max_new_tokens=8), never)
    assert found.edited is None and found.plain.text == " Austin." and found.plain.finished
    assert found.plain.tokens[-1].token == "<eos>" and [t.token for t in found.prompt][:2] == ["<bos>", "The"]


def test_the_text_of_a_sentencepiece_model_keeps_its_first_space():
    found = generate(held("demo"), GenerateRequest(text="The capital", max_new_tokens=1), never)
    assert found.plain.text == found.plain.tokens[0].token
    llama = generate(held("llama"), GenerateRequest(text="the capital", max_new_tokens=3), never)
    assert llama.plain.text == "".join(t.token for t in llama.plain.tokens if not t.token.startswith("<id "))


def test_draws_repeat_with_a_seed_and_leave_torchs_generator_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    requests = [GenerateRequest(token_ids=TEXT, max_new_tokens=8, temperature=2.0, seed=s) for s in (0, 0, 1)]
    found = [generate(held("gpt2"), request, never).plain for request in requests]
    assert found[0] == found[1] != found[2]
    assert torch.equal(torch.get_rng_state(), state)
    edited = GenerateRequest(
        token_ids=TEXT,
        max_new_tokens=8,
        temperature=2.0,
        edits=(EditMessage(layer=1, neurons=[3], kind="add", value=0.0),),
    )
    both = generate(held("gpt2"), edited, never)
    assert both.edited == both.plain == found[0]  # nothing is added: the same draws


@pytest.mark.parametrize("temperature", [1e-6, 1e-300, 5e-324])
def test_a_low_temperature_is_greedy(temperature):
    request = GenerateRequest(token_ids=TEXT, max_new_tokens=3)
    warm = request.model_copy(update={"temperature": temperature})
    assert generate(held("gpt2"), warm, never).plain == generate(held("gpt2"), request, never).plain


def test_draws_follow_the_probabilities():
    logits = plain_logits(loaded("gpt2").hf, [TEXT])[0, -1]
    p = (logits / 1.5).softmax(-1)
    drawn = [
        generate(held("gpt2"), GenerateRequest(token_ids=TEXT, max_new_tokens=1, temperature=1.5, seed=s), never)
        for s in range(120)
    ]
    tokens = torch.tensor([d.plain.tokens[0].token_id for d in drawn])
    likely = p.topk(20).indices
    share = float(torch.isin(tokens, likely).float().mean())
    assert share == pytest.approx(float(p[likely].sum()), abs=0.14)  # 3 standard errors


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"token_ids": IDS, "max_new_tokens": 56}, "9 tokens and 56 new ones, the model reads 64"),
        ({"token_ids": IDS, "edits": [{"layer": 3, "neurons": [1]}]}, r"edits\[0\]: layer 3 is not in 0..2"),
        (
            {"token_ids": IDS, "edits": [{"layer": 1, "neurons": [1], "kind": "set", "value": 1, "positions": [9]}]},
            r"edits\[0\].positions: 9 is not",
        ),
    ],
)
def test_what_is_refused(fields, what):
    with pytest.raises(UsageError, match=what):
        generate(held("gpt2"), GenerateRequest(**fields), never)


def test_a_prediction_that_is_not_finite_is_refused():
    projection = loaded("gpt2").hf.transformer.h[1].mlp.c_fc
    before = projection.bias.detach().clone()
    projection.bias.data[7] = float("nan")
    try:
        with pytest.raises(UsageError, match="the prediction is not finite"):
            generate(held("gpt2"), GenerateRequest(token_ids=TEXT), never)
    finally:
        projection.bias.data.copy_(before)
