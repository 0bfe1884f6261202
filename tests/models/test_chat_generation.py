"""Generation in batches: the tokens of a plain forward pass, whatever else is in the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES, VOCAB, build_model

from neuron_signatures.models.chat.generation import Answered, Asked, choose, generate

CPU = torch.device("cpu")
PROMPTS = [(5, 9, 4, 7, 200, 17, 33), (8, 2), (6, 6, 6, 90, 12), (101,)]


def answers(model, asked: list[Asked], ends: frozenset[int] = frozenset()) -> list[Answered]:
    return generate(model, asked, ends, CPU)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_batch_answers_as_single_forward_passes_without_a_cache(name):
    """Longer than the sliding window of the tiny models, with prompts of four lengths."""
    model = build_model(name)
    found = answers(model, [Asked(p, 9, 0.0, 0) for p in PROMPTS])
    for prompt, answer in zip(PROMPTS, found, strict=True):
        ids = list(prompt)
        for _ in range(9):
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        assert (answer.token_ids, answer.finish, answer.n_generated) == (ids[len(prompt) :], "length", 9)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_a_sampled_answer_depends_on_its_request_alone(name):
    model = build_model(name)
    ends = frozenset(range(0, VOCAB, 9))
    asked = [Asked(p, 20, t, seed) for p in PROMPTS for t in (0.7, 1.5, 0.0) for seed in (0, 1)]
    together = answers(model, asked, ends)
    alone = [answers(model, [a], ends)[0] for a in asked]
    assert together == alone == answers(model, asked[::-1], ends)[::-1]
    lengths = {len(a.token_ids) for a in together}
    assert len(lengths) > 4  # so rows left the batch at different times
    by_seed = [a.token_ids for a in together]
    assert by_seed[0] != by_seed[1] and by_seed[4] == by_seed[5]


def test_equal_seeds_of_different_prompts_are_different_draws():
    """A model that says the same after every prompt would otherwise give one sample to all neurons."""
    model = build_model("llama")
    with torch.no_grad():
        model.lm_head.weight.zero_()  # uniform over the vocabulary
    first, second = answers(model, [Asked((5, 6), 12, 1.0, 3), Asked((5, 7), 12, 1.0, 3)])
    assert first.token_ids != second.token_ids


def test_an_answer_ends_at_an_end_token_and_does_not_include_it():
    model = build_model("llama")
    whole = answers(model, [Asked(PROMPTS[0], 10, 0.0, 0)])[0].token_ids
    end = whole[4]
    first = whole.index(end)
    answer = answers(model, [Asked(PROMPTS[0], 10, 0.0, 0)], frozenset({end}))[0]
    assert (answer.token_ids, answer.finish, answer.n_generated) == (whole[:first], "ended", first + 1)


def test_each_request_has_its_own_limit():
    found = answers(build_model("llama"), [Asked(p, n, 0.0, 0) for p, n in zip(PROMPTS, (1, 4, 9, 2), strict=True)])
    assert [len(a.token_ids) for a in found] == [1, 4, 9, 2]


def test_candidates_are_those_of_the_model_before_sampling():
    model = build_model("llama")
    answer = answers(model, [Asked(PROMPTS[0], 3, 2.0, 0, n_logprobs=4)])[0]
    for i in range(3):
        ids = torch.tensor([[*PROMPTS[0], *answer.token_ids[:i]]])
        expected = model(ids, use_cache=False).logits[0, -1].log_softmax(-1)
        assert [c.token_id for c in answer.candidates[i]] == expected.topk(4).indices.tolist()
        assert [c.logprob for c in answer.candidates[i]] == pytest.approx(expected.topk(4).values.tolist(), abs=1e-4)


def test_logits_that_are_not_finite_end_that_answer_alone():
    model = build_model("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[101] = float("nan")
    found = answers(model, [Asked(p, 3, t, 0) for p in PROMPTS for t in (0.0, 1.0)])
    assert [a.finish for a in found] == ["length"] * 6 + ["not_finite"] * 2


def test_stop_is_asked_before_each_token():
    calls = iter([False, False, True])
    found = generate(build_model("llama"), [Asked((5, 6), 9, 0.0, 0)], frozenset(), CPU, stop=lambda: next(calls))
    assert (len(found[0].token_ids), found[0].finish) == (2, "stopped")


def test_sampled_tokens_have_the_probabilities_of_the_model():
    logits = torch.tensor([[2.0, -1.0, 0.5, float("-inf"), 1.0]])
    grid = (np.arange(20_000) + 0.5) / 20_000
    for temperature in (0.5, 1.0, 3.0):
        chosen = choose(logits.expand(len(grid), -1), [temperature] * len(grid), grid.tolist())
        share = torch.bincount(chosen, minlength=5) / len(grid)
        assert torch.allclose(share, (logits[0] / temperature).softmax(-1), atol=2e-4)


@pytest.mark.parametrize("u", [0.0, 1.0 - 2**-53])
def test_the_first_and_last_random_number_choose_tokens_that_can_occur(u):
    logits = torch.tensor([[float("-inf"), 0.0, 1.0, float("-inf")]])
    assert int(choose(logits, [1.0], [u])[0]) == (1 if u == 0 else 2)
