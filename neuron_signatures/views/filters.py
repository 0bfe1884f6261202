"""The filter of a ranked list: its terms, and how a term compares texts.

Terms are separated by spaces, and a row must match all of them:

    L3, L3N14, L3N14-         layer, neuron, pole
    >0.5, <= -1               the score
    promotes:·Austin          one of the tokens that the neuron promotes, at the sign that it has in this row
    suppresses:·Austin        the same, of those that it suppresses
    fires:Texas               its signature and its peak tokens
    class:say_x               the class of its signature
    often:Texas               the tokens on which it is strongest most often in the records of a corpus
    Texas                     any text of the row, promoted tokens included

`promotes`, `suppresses` and `fires` may also be followed by a space. A text matches what contains it, ignoring case, in
raw or displayed form; `"·Austin"` in quotes only the whole text; `/^·(New|North)/` is a regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import numpy as np

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import encodable, escape, visible

if TYPE_CHECKING:
    from jaxtyping import Bool

Field = Literal["any", "promotes", "suppresses", "fires", "class", "often"]
_TERM = re.compile(
    r"(?P<sign>[<>]=?)\s*(?P<limit>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)(?!\S)"
    r"|(?:(?P<field>promotes|suppresses|fires|class|often)(?:(?<!class)(?<!often)\s+|:\s*)(?=\S))?"
    r'(?P<text>"[^"]+"|/[^/]+/|\S+)',
    re.IGNORECASE | re.ASCII,
)
_EMPTY = ("promotes:", "suppresses:", "fires:", "class:", "often:")
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
    """The terms of a filter. Raises `UsageError` for a field without text and an invalid regular expression."""
    found: list[Compare | Place | Text] = []
    for m in _TERM.finditer(query):
        if m["text"] and m["text"].casefold() in _EMPTY:
            what = f"{m['text']} has nothing to look for"
            raise UsageError(what, next_step=f'Write {m["text"]}TEXT, or "{m["text"]}" in quotes to find this text')
        if m["sign"]:
            found.append(Compare(m["sign"], float(m["limit"])))
        elif place := None if m["field"] else _NEURON.fullmatch(m["text"]):
            found.append(Place(int(place[1]), int(place[2]) if place[2] else None, place[3]))
        else:
            matcher(m["text"])
            found.append(Text(cast(Field, (m["field"] or "any").lower()), m["text"]))
    return found


Matcher = Callable[[Sequence[str]], "Bool[np.ndarray, ' text']"]


@lru_cache(maxsize=32)
def matcher(pattern: str) -> Matcher:
    """Which of some raw texts match. Raises `UsageError` for an invalid regular expression.

    Regular expressions are RE2's, whose time is linear in the text: Python's may never end, and cannot be interrupted.
    """
    inner = pattern[1:-1]
    if inner and pattern[0] == pattern[-1] == '"':
        return _each(lambda text: inner in (text, visible(text)))
    if inner and pattern[0] == pattern[-1] == "/":
        return _expression(inner)
    low = pattern.casefold()
    return _each(lambda text: low in text.casefold() or (_is_changed(text) and low in visible(text).casefold()))


def _each(match: Callable[[str], bool]) -> Matcher:
    return lambda texts: np.array([match(t) for t in texts], bool)


def _expression(pattern: str) -> Matcher:
    import pyarrow as pa
    import pyarrow.compute as pc

    def search(texts: Sequence[str]) -> np.ndarray:
        forms = ([encodable(form(t)) for t in texts] for form in (str, visible))
        masks = [pc.match_substring_regex(pa.array(f, pa.string()), encodable(pattern)).to_numpy(False) for f in forms]
        found: np.ndarray = np.logical_or(*masks).astype(bool)
        return found

    try:
        search([""])
    except pa.ArrowException as e:
        raise UsageError(f"/{escape(pattern[:60])}/ is not a regular expression: {escape(str(e))[:120]}") from e
    return search


def _is_changed(text: str) -> bool:
    """Whether the displayed form of a text differs from the text; quick, for vocabularies."""
    return not (text.isascii() and text.isprintable()) or text[:1] == " " or text[-1:] == " "
