"""The filter of a ranked list: its terms, and how a term compares texts.

Terms are separated by spaces, and a row must match all of them:

    L3, L3N14, L3N14-         layer, neuron, pole
    >0.5, <= -1               the score
    promotes:·Austin          one of the tokens that the neuron promotes, at the sign that it has in this row
    suppresses:·Austin        the same, of those that it suppresses
    fires:Texas               its signature and its peak tokens
    class:say_x               the class of its signature
    Texas                     any text of the row, promoted tokens included

`promotes`, `suppresses` and `fires` may also be followed by a space. A text matches what contains it, ignoring case, in
raw or displayed form; `"·Austin"` in quotes only the whole text; `/^·(New|North)/` is a regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple, cast

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import escape, visible

Field = Literal["any", "promotes", "suppresses", "fires", "class"]
_TERM = re.compile(
    r"(?P<sign>[<>]=?)\s*(?P<limit>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)(?!\S)"
    r"|(?:(?P<field>promotes|suppresses|fires|class)(?:(?<!class)\s+|:\s*)(?=\S))?"
    r'(?P<text>"[^"]+"|/[^/]+/|\S+)',
    re.IGNORECASE | re.ASCII,
)
_NEURON = re.compile(r"L(\d{1,6})(?:N(\d{1,9}))?([+-]?)", re.IGNORECASE | re.ASCII)


class Compare(NamedTuple):
    """The score must be `<`, `>`, `<=` or `>=` a number."""

    sign: str
    limit: float


class Place(NamedTuple):
    """A layer, or one neuron of it, or one of its poles."""

    layer: int
    neuron: int | None
    pole: str
    """`+`, `-`, or empty for both."""


class Text(NamedTuple):
    """A text to look for in a column."""

    field: Field
    pattern: str


def parse(query: str) -> list[Compare | Place | Text]:
    """The terms of a filter. Raises `UsageError` for an invalid regular expression."""
    found: list[Compare | Place | Text] = []
    for m in _TERM.finditer(query):
        if m["sign"]:
            found.append(Compare(m["sign"], float(m["limit"])))
        elif place := None if m["field"] else _NEURON.fullmatch(m["text"]):
            found.append(Place(int(place[1]), int(place[2]) if place[2] else None, place[3]))
        else:
            matcher(m["text"])
            found.append(Text(cast(Field, (m["field"] or "any").lower()), m["text"]))
    return found


@lru_cache(maxsize=32)
def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a raw text matches. Raises `UsageError` for an invalid regular expression."""
    inner = pattern[1:-1]
    if inner and pattern[0] == pattern[-1] == '"':
        return lambda text: inner in (text, visible(text))
    if inner and pattern[0] == pattern[-1] == "/":
        try:
            expression = re.compile(inner)
        except re.error as e:
            raise UsageError(f"{escape(pattern[:60])} is not a regular expression: {e}") from e
        return lambda text: bool(expression.search(text) or expression.search(visible(text)))
    low = pattern.casefold()
    return lambda text: low in text.casefold() or low in visible(text).casefold()
