"""A raw response of a chat server, and the answer in it.

Nothing but a complete completion with a text is an answer of status ok: servers also send web pages with code 200,
errors with code 200, completions without choices or text, and JSON that ends in the middle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from neuron_signatures.llm.chat import Answer, TokenProb
from neuron_signatures.llm.wire.faults import answer_of_fault, read_fault
from neuron_signatures.runs.explanations.entry import MAX_NAME, MAX_TEXT
from neuron_signatures.runs.plain import refuse_constant

Redact = Callable[[str], str]

Lost = Literal["", "timed_out", "no_connection", "too_large"]
"""Why there is no response, if there is none."""

_MAX_TOKENS = 1 << 40
_TOOL_CALLS = ("tool_calls", "function_call")
_LONE = re.compile("[\ud800-\udfff]")
_LOST: Mapping[str, Answer] = {
    "timed_out": Answer("timed_out", reason="no answer within the time limit"),
    "no_connection": Answer("api_error", reason="the connection failed or was cut"),
    "too_large": Answer("api_error", reason="the response is too large or compressed"),
}


class Reply(NamedTuple):
    """One HTTP response, without the key in it; `http_status` is 0 if there was none."""

    http_status: int
    body: str
    seconds: float
    lost: Lost = ""
    retry_after: float | None = None
    """Seconds that the server asks to wait."""


def parse_reply(reply: Reply, redact: Redact = str) -> Answer:
    """The answer in a response, with its price and time left open. `redact` removes the key from decoded texts."""
    if reply.lost:
        return _LOST[reply.lost]
    if not 200 <= reply.http_status < 300:
        return answer_of_fault(read_fault(reply.http_status, load(reply.body)), redact)
    value = load(reply.body)
    if not isinstance(value, dict):
        return Answer("api_error", reason=_no_json(reply.body))
    if value.get("error"):
        return answer_of_fault(read_fault(reply.http_status, value), redact)
    found = _completion(value, redact)
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Answer(
        status=found.status,
        text=found.text if found.status == "ok" else "",
        reason=found.reason,
        model=_name(value.get("model"), redact),
        system_fingerprint=_name(value.get("system_fingerprint"), redact),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        top_logprobs=found.top_logprobs,
    )


def load(text: str) -> Any:
    """The value of strict JSON, or None for anything else."""
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return None


def _completion(value: dict[str, Any], redact: Redact) -> Answer:
    """Status and text of the first choice."""
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return Answer("api_error", reason="the response has no choices")
    choice = choices[0]
    message, finish = choice.get("message"), choice.get("finish_reason")
    if not isinstance(message, dict):
        return Answer("api_error", reason="the response has no message")
    if finish == "length":
        return Answer(
            "too_long", reason="the answer was cut at its limit of tokens (--max_tokens)",
            top_logprobs=_top_logprobs(choice.get("logprobs"), redact),
        )  # fmt: skip
    if finish == "content_filter":
        return Answer("filtered", reason="the server's content filter cut the answer")
    if message.get("refusal"):
        return Answer("refused", reason="the model refused")
    if finish in _TOOL_CALLS or message.get("tool_calls") or message.get("function_call"):
        return Answer("unparsable", reason="the model called a tool instead of answering")
    if finish == "error":
        return Answer("api_error", reason="the server broke off the answer")
    text = message.get("content")
    if not isinstance(text, str) or not text.strip():
        return Answer("unparsable", reason="the answer has no text")
    text = redact(_LONE.sub("\N{REPLACEMENT CHARACTER}", text))[:MAX_TEXT]
    return Answer("ok", text, top_logprobs=_top_logprobs(choice.get("logprobs"), redact))


def _top_logprobs(value: Any, redact: Redact) -> tuple[tuple[TokenProb, ...], ...] | None:
    """The candidates of each token; None if the server gave none, or not in the documented form."""
    if not isinstance(value, dict) or not isinstance(value.get("content"), list):
        return None
    try:
        return tuple(
            tuple(_token_prob(candidate, redact) for candidate in token["top_logprobs"]) for token in value["content"]
        )
    except (KeyError, TypeError):
        return None


def _token_prob(candidate: Any, redact: Redact) -> TokenProb:
    token, logprob = candidate["token"], candidate["logprob"]
    if not isinstance(token, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float):
        raise TypeError
    return TokenProb(redact(_LONE.sub("\N{REPLACEMENT CHARACTER}", token)), float(logprob))


def _name(value: Any, redact: Redact) -> str | None:
    if not isinstance(value, str):
        return None
    return redact(_LONE.sub("\N{REPLACEMENT CHARACTER}", value))[:MAX_NAME]


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_TOKENS
    return value if is_count else None


def _no_json(body: str) -> str:
    if body.lstrip()[:1] == "<":
        return "the server answered with a web page: is --base_url right?"
    return "the response is not complete JSON"
