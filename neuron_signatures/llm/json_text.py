"""JSON in prompts, safe from control tokens, and JSON in answers, read strictly."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, Final

from neuron_signatures.llm.refusals import without_thinking
from neuron_signatures.runs.bounded_json import check_bounds
from neuron_signatures.runs.plain import refuse_constant

MAX_ANSWER: Final = 100_000
"""Characters of an answer that are read."""
_ESCAPES: Final = {"<": "\\u003c", "[": "\\u005b"}
_MARKDOWN: Final = re.compile(r"\A```(?:json)?[ \t]*\n?(.*?)\n?[ \t]*```\Z", re.DOTALL | re.IGNORECASE)


class NotJson(ValueError):
    """The answer is not the JSON that was asked for. `str()` says why."""


@lru_cache(maxsize=1 << 16)
def quoted(text: str) -> str:
    """A JSON string in which the characters that begin control tokens of chat templates are escapes (`\\u003c`).

    Reading it gives the text back. Half a surrogate pair becomes an escape. Kept for some texts:
    tokens come again and again.
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
    """As `json_value`, of an answer that may begin with a block of thinking."""
    return json_value(without_thinking(text))


def json_value(text: str, *, most: int = MAX_ANSWER) -> Any:
    """The JSON value that is the whole text of at most `most` characters, but for white space and a Markdown fence.

    Raises `NotJson`, also if an object has a key twice.
    """
    if len(text) > most:
        raise NotJson(f"the answer is longer than {most} characters")
    text = text.strip()
    if (inner := _MARKDOWN.match(text)) is not None:
        text = inner[1]
    try:
        check_bounds(raw := text.encode("utf-8"))
        return json.loads(raw, parse_constant=refuse_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as e:
        raise NotJson("the answer is not JSON") from e


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key occurs twice")
    return value
