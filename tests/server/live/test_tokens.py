"""From a request to token ids: the same as in the stages, and what is refused before the model runs."""

from __future__ import annotations

import pytest
from attribution_cases import loaded
from live_cases import DALLAS, held, held_with_runs, never
from pydantic import ValidationError
from tiny_models import ARCHITECTURES

from neuron_signatures.api.live import TextRequest
from neuron_signatures.models.tokens import encode_text, token_strings
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.server.live.tokens import MAX_NUMBERS, positions_of, refuse_long_answer, tokens


@pytest.mark.parametrize("name", [*ARCHITECTURES, "demo"])
def test_tokens_are_those_of_the_stages(name):
    tokenizer = loaded(name).tokenizer
    for bos, prepend in (("prepend", True), ("off", False)):
        found = tokens(held(name), TextRequest(text="the capital of Dallas", bos=bos), never)
        ids = encode_text(tokenizer, "the capital of Dallas", prepend_bos=prepend)
        assert [t.token_id for t in found.tokens] == ids
        assert [t.token for t in found.tokens] == token_strings(tokenizer, ids)
        assert [t.pos for t in found.tokens] == list(range(len(ids)))
        assert found.bos == (prepend and tokenizer.bos_token_id is not None)


def test_a_text_gets_a_bos_as_in_stage_1_unless_it_is_asked_otherwise():
    """GPT-2's tokenizer adds none, Llama's does."""
    for name, by_itself in (("gpt2", False), ("llama", True)):
        assert tokens(held(name), TextRequest(text="the"), never).bos
        assert tokens(held(name), TextRequest(text="the", bos="tokenizer"), never).bos == by_itself


def test_token_ids_are_taken_as_they_are():
    found = tokens(held("gpt2"), TextRequest(token_ids=[9, 7, 9]), never)
    assert [t.token_id for t in found.tokens] == [9, 7, 9]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"text": "", "bos": "off"}, "text: the text has no tokens"),
        ({"text": "a " * 100}, r"\d+ tokens, this server and model take 60"),
        ({"token_ids": [5] * 61}, "token_ids: 61 tokens"),
        ({"token_ids": [5, 384]}, "token_ids: 384 is not in 0..383"),
    ],
)
def test_what_is_refused(fields, what):
    with pytest.raises(UsageError, match=what):
        tokens(held("gpt2"), TextRequest(**fields), never)


@pytest.mark.parametrize(
    "fields", [{}, {"text": "a", "token_ids": [5]}, {"token_ids": [-1]}, {"token_ids": []}, {"text": "a\ud800"}]
)
def test_a_message_has_a_text_or_ids(fields):
    with pytest.raises(ValidationError):
        TextRequest(**fields)


def test_the_limit_of_tokens_is_the_servers():
    with pytest.raises(UsageError, match="9 tokens, this server and model take 8"):
        tokens(held_with_runs(None, max_tokens=8), TextRequest(text=DALLAS), never)


def test_positions_count_from_the_end_if_negative():
    assert positions_of([-1, 0, 2], 5, default=[]) == [4, 0, 2]
    assert positions_of(None, 5, default=[1, 2]) == [1, 2]
    for given, what in (([5], "5 is not in a prompt of 5 tokens"), ([4, -1], "named twice")):
        with pytest.raises(UsageError, match=what):
            positions_of(given, 5, default=[])


def test_long_answers_are_refused_with_the_next_step():
    refuse_long_answer(MAX_NUMBERS)
    with pytest.raises(UsageError, match=r"200,001 numbers, more than 200,000. .*/activations/tensor"):
        refuse_long_answer(MAX_NUMBERS + 1)
