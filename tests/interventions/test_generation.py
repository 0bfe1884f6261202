"""Generation with edits gives the tokens of whole forward passes, one per new token, with the same edits."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from attribution_cases import token_ids
from intervention_cases import session
from tiny_models import ARCHITECTURES

from neuron_signatures.interventions.edits import Edit, fwd_hooks

N_NEW = 6
MANY = tuple(range(30))
EVERYWHERE = [Edit(1, MANY, None, "scale", -3.0), Edit(2, (4, 5), (1,), "set", 5.0)]
AT_THE_PROMPT = [Edit(1, MANY, (1, 3), "set", 6.0)]
AT_NEW_TOKENS = [Edit(1, MANY, (5, 7), "set", 6.0)]


class Generated(NamedTuple):
    """The new tokens, and the input of the unembedding that each was read from."""

    tokens: list[int]
    read: torch.Tensor


def one_by_one(name: str, ids: list[int], edits: list[Edit]) -> Generated:
    """The most likely token after each whole forward pass."""
    bridge, found, seen = session(name).bridge, list(ids), []
    for _ in range(N_NEW):
        hooks = [*fwd_hooks(edits), ("unembed.hook_in", keeping(seen))]
        with torch.no_grad(), bridge.hooks(fwd_hooks=hooks):
            found.append(int(bridge(torch.tensor([found]))[0, -1].argmax()))
    return Generated(found[len(ids) :], torch.stack(seen))


def generated(name: str, ids: list[int], edits: list[Edit], *, use_cache: bool) -> Generated:
    bridge, seen = session(name).bridge, []
    with torch.no_grad(), bridge.hooks(fwd_hooks=[*fwd_hooks(edits), ("unembed.hook_in", keeping(seen))]):
        out = bridge.generate(
            torch.tensor([ids]), max_new_tokens=N_NEW, do_sample=False, stop_at_eos=False, return_type="tokens",
            use_past_kv_cache=use_cache, verbose=False,
        )  # fmt: skip
    return Generated(out[0, len(ids) :].tolist(), torch.stack(seen))


def keeping(seen: list[torch.Tensor]):
    def hook(value, hook):
        seen.append(value[0, -1].clone())
        return value

    return hook


def assert_same(found: Generated, wanted: Generated) -> None:
    assert found.tokens == wanted.tokens
    torch.testing.assert_close(found.read, wanted.read, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "use_cache"),
    [*((name, True) for name in ARCHITECTURES), ("gpt2", False), ("gemma3", False), ("opt", False)],
)
def test_generation_equals_whole_forward_passes(name, use_cache):
    ids = token_ids(5)
    clean = one_by_one(name, ids, [])
    assert_same(generated(name, ids, [], use_cache=use_cache), clean)
    for edits, first in ((EVERYWHERE, 0), (AT_THE_PROMPT, 0), (AT_NEW_TOKENS, 1)):
        found = generated(name, ids, edits, use_cache=use_cache)
        assert_same(found, one_by_one(name, ids, edits))
        changed = (found.read - clean.read).abs().amax(1) > 0.01
        assert changed.tolist().index(True) == first  # position 5 is that of the first new token


@pytest.mark.parametrize("use_cache", [True, False], ids=["cache", "no cache"])
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "llama"])
def test_generation_from_one_token(name, use_cache):
    for edits in (EVERYWHERE, [Edit(1, MANY, (0, 2), "set", 6.0)]):
        found = generated(name, [9], edits, use_cache=use_cache)
        assert_same(found, one_by_one(name, [9], edits))


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_without_positions_new_tokens_are_edited_and_with_positions_they_are_not(name):
    """The activations that the hooks give back, at the positions of new tokens."""
    for positions, at_new in ((None, True), ((2, 4), False)):
        seen: list[torch.Tensor] = []

        def keep(acts, hook, seen=seen):
            seen.append(acts[0, :, 3].clone())
            return acts

        bridge = session(name).bridge
        hooks = [*fwd_hooks([Edit(1, (3,), positions, "set", 7.5)]), ("blocks.1.mlp.hook_post", keep)]
        with torch.no_grad(), bridge.hooks(fwd_hooks=hooks):
            bridge.generate(torch.tensor([token_ids(5)]), max_new_tokens=3, do_sample=False, stop_at_eos=False,
                            verbose=False)  # fmt: skip
        first, *new = seen
        assert (first == 7.5).tolist() == [positions is None or i in positions for i in range(5)]
        assert [bool((x == 7.5).all()) for x in new] == [at_new] * len(new) and len(new) >= 2


def test_a_session_generates_the_same_and_repeats_samples_of_a_seed():
    own, ids = session("gpt2"), token_ids(5)
    assert own.generate(ids, EVERYWHERE, max_new_tokens=N_NEW) == one_by_one("gpt2", ids, EVERYWHERE).tokens
    torch.manual_seed(5)
    state = torch.get_rng_state()
    drawn = [own.generate(ids, max_new_tokens=N_NEW, temperature=2.0, seed=s) for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(torch.get_rng_state(), state)
