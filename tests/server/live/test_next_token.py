"""Predictions equal those of a plain forward pass."""

from __future__ import annotations

import pytest
import torch
from attribution_cases import loaded
from live_cases import DALLAS, IDS, held, never
from tiny_models import ARCHITECTURES

from neuron_signatures.api.live import NextTokenRequest
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.server.live.predictions import next_token


@torch.no_grad()
def logits_of(name: str, pos: int) -> torch.Tensor:
    return loaded(name).hf(input_ids=torch.tensor([IDS]), use_cache=False).logits[0, pos].double()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_predictions_are_those_of_the_model(name):
    for pos in (-1, 4):
        found = next_token(held(name), NextTokenRequest(token_ids=IDS, pos=pos, top_k=400), never)
        logits = logits_of(name, pos)
        log_probs = logits.log_softmax(-1)
        assert found.pos == pos % len(IDS) and found.warnings == []
        assert [t.token_id for t in found.tokens] == IDS
        assert [c.rank for c in found.top] == list(range(384)) == sorted(c.rank for c in found.top)
        assert sorted(c.token_id for c in found.top) == list(range(384))
        for chance in found.top:
            assert chance.logit == pytest.approx(float(logits[chance.token_id]), abs=2e-4)
            assert chance.log_prob == pytest.approx(float(log_probs[chance.token_id]), abs=2e-4)
            assert chance.prob == pytest.approx(float(log_probs[chance.token_id].exp()), abs=1e-4)
        assert [c.logit for c in found.top] == sorted((c.logit for c in found.top), reverse=True)
        assert found.entropy == pytest.approx(float(-(log_probs.exp() * log_probs).sum()), abs=1e-4)


def test_asked_tokens_are_found_wherever_they_rank():
    request = NextTokenRequest(text=DALLAS, top_k=3, tokens=(" Denver", " Austin"))
    found = next_token(held("demo"), request, never)
    assert (found.top[0].token, found.top[0].rank) == (" Austin", 0) and len(found.top) == 3
    denver, austin = found.asked
    assert (denver.token, austin.token) == (" Denver", " Austin") and austin == found.top[0]
    everything = next_token(held("demo"), NextTokenRequest(text=DALLAS, top_k=1000), never).top
    assert next(c for c in everything if c.token == " Denver") == denver


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"tokens": ("Austin Texas",)}, r"tokens: 'Austin Texas' is not one token: .*'Austin' \d+, '·Texas' \d+"),
        ({"tokens": (" Austin ",)}, "is not one token"),
        ({"pos": 9}, "pos: 9 is not in a prompt of 9 tokens"),
        ({"pos": -10}, "pos: -10 is not"),
    ],
)
def test_what_is_refused(fields, what):
    with pytest.raises(UsageError, match=what):
        next_token(held("demo"), NextTokenRequest(text=DALLAS, **fields), never)
