"""Predictions inside texts: those of a plain forward pass over the whole text, whatever is shared or batched."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from short_of_memory import ERRORS, short_of_memory
from tiny_models import ARCHITECTURES, CONTEXT, MIXTURES, VOCAB, build_model

from neuron_signatures.models.batching import BatchSize
from neuron_signatures.models.chat.prompt_logits import Places, PromptLogits, Stopped
from neuron_signatures.runs.errors import EnvironmentProblem

CPU = torch.device("cpu")
PREFIX = (5, 9, 4, 7, 200, 17, 33, 8, 2, 41, 300)
CANDIDATES = (3, 77, 201)


def places(seed: int, n_tokens: int, *at: int) -> Places:
    ids = tuple(int(i) for i in np.random.default_rng(seed).integers(2, VOCAB, n_tokens))
    return Places(ids, at, (CANDIDATES,) * len(at))


TEXTS = [
    places(0, 9, 0, 4, 8), places(1, 3, 2), places(2, 17, 0, 1, 16), places(3, 6, 5, 1), places(4, 1, 0), places(5, 4)
]  # fmt: skip


def reader(model, most: int = 3) -> PromptLogits:
    return PromptLogits(model, CPU, BatchSize(most))


def expected(model, prefix: tuple[int, ...], text: Places) -> np.ndarray:
    """By a forward pass over prefix and text without cache, batch or padding."""
    ids = torch.tensor([[*prefix, *text.token_ids]])
    with torch.inference_mode():
        logprobs = model(ids, use_cache=False).logits[0].float().log_softmax(-1)
    rows = [[float(logprobs[len(prefix) + p - 1, i]) for i in w] for p, w in zip(text.at, text.wanted, strict=True)]
    return np.array(rows, np.float32)


def check(model, found: list[np.ndarray], texts=TEXTS, prefix=PREFIX) -> None:
    for values, text in zip(found, texts, strict=True):
        assert values.dtype == np.float32 and len(values) == len(text.at)
        if text.at:
            np.testing.assert_allclose(values, expected(model, prefix, text), atol=1e-4)


@pytest.mark.parametrize("name", [*ARCHITECTURES, *MIXTURES])
@pytest.mark.parametrize("shared", [0, 1, 7])
def test_the_values_are_those_of_plain_forward_passes(name, shared):
    """Texts of several lengths in several batches; prefixes shorter and longer than the sliding window of 4."""
    model = build_model(name)
    of = reader(model)
    check(model, of.logprobs(PREFIX, TEXTS, shared=shared))
    check(model, of.logprobs(PREFIX[:2], TEXTS), prefix=PREFIX[:2])
    check(model, of.logprobs(PREFIX[:1], TEXTS), prefix=PREFIX[:1])
    check(model, of.logprobs(PREFIX, TEXTS[::-1], shared=shared), TEXTS[::-1])


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_the_prefix_is_read_once_and_kept_for_the_next_call(name):
    of = reader(build_model(name))
    first = of.logprobs(PREFIX, TEXTS)
    assert of.n_prefix_passes == 1
    again = of.logprobs(PREFIX, TEXTS)
    assert of.n_prefix_passes == 1
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_prefixes_that_begin_alike_share_that_part():
    model = build_model("llama")
    of = reader(model)
    for last in range(20, 26):
        check(model, of.logprobs((*PREFIX, last, 6), TEXTS, shared=len(PREFIX)), prefix=(*PREFIX, last, 6))
    assert of.n_prefix_passes == 1 + 6


def test_equal_arguments_give_equal_numbers_whatever_was_asked_before():
    model = build_model("llama")
    of, fresh = reader(model), reader(model)
    for last in range(20, 30):
        of.logprobs((*PREFIX, last), TEXTS, shared=4)
    found = of.logprobs((*PREFIX, 20), TEXTS, shared=4)
    assert all(np.array_equal(a, b) for a, b in zip(found, fresh.logprobs((*PREFIX, 20), TEXTS, shared=4), strict=True))


def test_states_that_cannot_be_shared_are_computed_again_and_said(monkeypatch, caplog):
    from neuron_signatures.models.chat import prompt_logits

    monkeypatch.setattr(prompt_logits, "_SHAREABLE", ())
    model = build_model("gemma3")
    of = reader(model)
    with caplog.at_level(logging.WARNING):
        check(model, of.logprobs(PREFIX, TEXTS, shared=5))
        check(model, of.logprobs(PREFIX, TEXTS, shared=5))
    assert caplog.text.count("cannot be shared") == 1 and "Gemma3" in caplog.text


def test_only_the_logits_of_the_places_are_computed():
    model = build_model("gemma2")
    sizes = []
    handle = model.get_output_embeddings().register_forward_hook(lambda *a: sizes.append(a[2].shape[:2].numel()))
    reader(model, most=10).logprobs(PREFIX, TEXTS)
    handle.remove()
    assert sizes == [1, sum(len(t.at) for t in TEXTS)]
    assert model(torch.tensor([[5, 6, 7]])).logits.shape[1] == 3  # as before


def test_a_pass_has_a_limited_number_of_logits(monkeypatch):
    from neuron_signatures.models.chat import prompt_logits

    monkeypatch.setattr(prompt_logits, "MOST_LOGITS", 4 * VOCAB)
    monkeypatch.setattr(prompt_logits, "_SLICE", 2 * VOCAB)
    model, sizes = build_model("llama"), []
    handle = model.get_output_embeddings().register_forward_hook(lambda *a: sizes.append(a[2].shape[1]))
    found = reader(model, most=10).logprobs(PREFIX, TEXTS)
    handle.remove()
    assert max(sizes) <= 4 and sum(sizes) == 1 + sum(len(t.at) for t in TEXTS)
    check(model, found)


@pytest.mark.parametrize("error", list(ERRORS))
def test_out_of_memory_halves_the_batch(error, caplog):
    model = build_model("llama")
    with short_of_memory(model, 2, error=ERRORS[error]):
        check(model, reader(model, most=8).logprobs(PREFIX, TEXTS))
    assert "going on with 2" in caplog.text


def test_a_text_that_does_not_fit_alone_is_an_error():
    model = build_model("llama")
    with short_of_memory(model, 0), pytest.raises(EnvironmentProblem, match="out of memory in reading predictions"):
        reader(model).logprobs(PREFIX[:1], TEXTS)


def test_stop_is_asked_before_each_pass():
    with pytest.raises(Stopped):
        reader(build_model("llama")).logprobs(PREFIX, TEXTS, stop=lambda: True)


def test_up_to_the_end_of_the_context():
    """GPT-2 has learned positions: one token beyond its context would be an error of the model."""
    model = build_model("gpt2")
    text = places(6, CONTEXT - len(PREFIX), 0, CONTEXT - len(PREFIX) - 1)
    check(model, reader(model).logprobs(PREFIX, [text, TEXTS[1]]), [text, TEXTS[1]])


def test_values_that_are_not_finite_are_kept_to_their_text():
    model = build_model("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[101] = float("nan")
    texts = [Places((7, 101, 8), (0, 1, 2), (CANDIDATES,) * 3), TEXTS[0]]
    bad, good = reader(model).logprobs(PREFIX, texts)
    assert np.isnan(bad[2]).all() and np.isfinite(good).all()
