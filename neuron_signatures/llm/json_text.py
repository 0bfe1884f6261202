"""JSON in prompts, safe from control tokens, and JSON in answers, read strictly."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from neuron_signatures.llm.refusals import without_thinking
from neuron_signatures.runs.bounded_json import parse_json

MAX_ANSWER: Final = 100_000
"""Characters of an answer that are read."""
_ESCAPES: Final = {"<": "\\u003c", "[": "\\u005b"}
_MARKDOWN: Final = re.compile(r"\A```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\Z", re.DOTALL | re.IGNORECASE)


class NotJson(ValueError):
    """The answer is not the JSON that was asked for. `str()` says why."""


def quoted(text: str) -> str:
    """A JSON string in which the characters that begin control tokens of chat templates are escapes (`\\u003c`).

    Reading it gives the text back. Half a surrogate pair becomes an escape.
    """
    found = json.dumps(text, ensure_ascii=any("\ud800" <= c <= "\udfff" for c in text))
    for character, escape in _ESCAPES.items():
        found = found.replace(character, escape)
    return found


def quoted_json(value: Any) -> str:
    """A value of dicts, lists, strings and numbers as JSON on one line; the strings as `quoted`."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(k)}: {quoted_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(quoted_json, value)) + "]"
    return json.dumps(value, allow_nan=False)


def json_answer(text: str) -> Any:
    """The JSON value that is the whole answer, but for white space, a Markdown fence and a block of thinking.

    Raises `NotJson`.
    """
    if len(text) > MAX_ANSWER:
        raise NotJson(f"the answer is longer than {MAX_ANSWER} characters")
    text = without_thinking(text).strip()
    if (inner := _MARKDOWN.match(text)) is not None:
        text = inner[1]
    try:
        return parse_json(text.encode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise NotJson("the answer is not JSON") from e
