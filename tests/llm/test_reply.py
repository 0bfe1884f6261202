"""Reading raw responses of any form, and the estimates of tokens."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_sessions import asked
from misbehaving_server import completion

from neuron_signatures.llm.forecast import estimated_tokens, most_prompt_tokens
from neuron_signatures.llm.prices import Price, shipped_prices
from neuron_signatures.llm.wire.reply import Reply, parse_reply
from neuron_signatures.llm.wire.retries import is_transient

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_PATHS = [
    ("choices",), ("choices", 0), ("choices", 0, "message"), ("choices", 0, "message", "content"), ("error",),
    ("choices", 0, "finish_reason"), ("choices", 0, "logprobs"), ("usage",), ("usage", "prompt_tokens"), ("model",),
    ("choices", 0, "message", "refusal"), ("choices", 0, "message", "tool_calls"), ("error", "message"),
    ("error", "code"), ("choices", 0, "logprobs", "content"),
]  # fmt: skip


@given(path=st.sampled_from(_PATHS), value=_JSON, status=st.sampled_from([200, 400, 429, 500]))
@settings(max_examples=120)
def test_a_response_of_any_form_has_a_status(path: tuple[str | int, ...], value: Any, status: int) -> None:
    body = copy.deepcopy(completion("a text"))
    body["error"] = {} if path[0] == "error" else None
    body["choices"][0]["logprobs"] = {}
    target: Any = body
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    reply = Reply(status, json.dumps(body), 0.0)
    found = parse_reply(reply)
    is_transient(reply)
    if found.status == "ok":
        assert status == 200
        assert found.text == json.loads(reply.body)["choices"][0]["message"]["content"]
        assert found.text.strip()
    else:
        assert found.text == "" and found.reason and found.reason.isprintable() and len(found.reason) <= 400


@given(raw=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
def test_a_response_of_any_bytes_is_no_answer(raw: bytes) -> None:
    assert parse_reply(Reply(200, raw.decode("utf-8", "replace"), 0.0)).status == "api_error"


@pytest.mark.parametrize("end", range(1, 300, 7))
def test_a_response_that_ends_anywhere_is_no_answer(end: int) -> None:
    body = json.dumps(completion("a text"))
    assert parse_reply(Reply(200, body[:-end], 0.0)).status == "api_error"


def test_a_count_of_tokens_that_is_none_is_not_known() -> None:
    for count in (-1, 1.5, "7", None, True, 1 << 60):
        body = json.dumps({**completion(), "usage": {"prompt_tokens": count, "completion_tokens": 3}})
        found = parse_reply(Reply(200, body, 0.0))
        assert (found.status, found.prompt_tokens, found.completion_tokens) == ("ok", None, 3)


@given(text=st.text(max_size=50))
def test_a_prompt_has_at_most_a_token_per_byte(text: str) -> None:
    messages = asked(text).messages
    assert estimated_tokens(messages) <= most_prompt_tokens(messages)
    assert most_prompt_tokens(messages) >= len(text.encode()) + len("Explain.")


def test_published_prices_have_a_date_and_a_source() -> None:
    prices = shipped_prices()
    assert prices.date and prices.source and "--price_file" in prices.note
    assert prices.of("gpt-4o-mini") == Price(0.15, 0.6)
    assert prices.of("gpt-4o-2024-05-13") != prices.of("gpt-4o")
    assert prices.of("unknown") is None
    assert Price(2.0, 8.0).cost(1_000_000, 500_000) == 6.0
