"""Sets of positions as they are written: `[DOCUMENTS@]POSITIONS`, such as `token: Austin` or `knowledge-*@regex:\\d+`.

DOCUMENTS is a pattern of document names with * and ?; all without it. POSITIONS are `all`, `rest` (of B: what is not in
A), or
  token:TEXT    the token is TEXT; `before:TEXT`: the next one; `after:TEXT`: the one before
  ngram:TEXT    the tokens that end there are together TEXT
  regex:REGEX   the token has the last character of a match in the text of the window
Alternatives of TEXT are separated by |. Spaces count. A token with | or @ in it is reached with `regex:`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import accumulate
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Bool

from neuron_signatures.runs.errors import UsageError

Kind = Literal["all", "rest", "token", "before", "after", "ngram", "regex"]
_WITH_TEXT: Final = ("token", "before", "after", "ngram", "regex")
_FORMS: Final = "all, rest, " + ", ".join(f"{kind}:TEXT" for kind in _WITH_TEXT)
_MOST_TEXT: Final = 2000
assert set(_WITH_TEXT) < set(get_args(Kind))


@dataclass(frozen=True)
class PositionSet:
    """One side as written. `texts` are raw, alternatives; of `regex` one expression."""

    text: str
    documents: str
    kind: Kind
    texts: tuple[str, ...] = ()

    def has_document(self, name: str) -> bool:
        return fnmatchcase(name, self.documents)

    def holds(self, tokens: tuple[str, ...]) -> Bool[np.ndarray, " pos"]:
        """At which positions of a window it holds; at all for `all` and `rest`."""
        n = len(tokens)
        if self.kind in ("all", "rest"):
            return np.ones(n, bool)
        if self.kind == "regex":
            return _matches(self.texts[0], tokens)
        if self.kind == "ngram":
            return np.asarray(np.any([_ends(text, tokens) for text in self.texts], axis=0))
        here = np.array([token in self.texts for token in tokens], bool)
        if self.kind == "token":
            return here
        shifted = np.zeros(n, bool)
        if self.kind == "before":
            shifted[:-1] = here[1:]
        else:
            shifted[1:] = here[:-1]
        return shifted


def parse_positions(text: str, *, flag: str) -> PositionSet:
    """Raises `UsageError` with the flag for text that is not of the grammar."""
    if len(text) > _MOST_TEXT:
        what = f"is {len(text)} characters long, more than {_MOST_TEXT}"
        raise UsageError(what, where=flag, next_step="Write a shorter set")
    documents, positions = "*", text
    if not _kind_of(text):
        documents, at, positions = text.partition("@")
        if not at or not documents:
            what = f"{text!r} names no positions ({_FORMS})"
            raise UsageError(what, where=flag, next_step=f"Write 'token:{text}' for the positions with this token")
    kind = _kind_of(positions)
    if kind is None:
        what = f"{positions!r} names no positions ({_FORMS})"
        raise UsageError(what, where=flag, next_step=f"Write '{documents}@all' for all positions of these documents")
    if kind in ("all", "rest"):
        return PositionSet(text, documents, kind)
    written = positions.partition(":")[2]
    texts = (written,) if kind == "regex" else tuple(written.split("|"))
    if not all(texts):
        raise UsageError(f"{positions!r} has an empty text", where=flag, next_step=f"Write it as {kind}: is| are")
    if kind == "regex":
        _check_expression(written, flag)
    return PositionSet(text, documents, kind, texts)


def _kind_of(text: str) -> Kind | None:
    kind, colon, _ = text.partition(":")
    if colon and kind in _WITH_TEXT:
        return kind  # type: ignore[return-value]
    return text if text in ("all", "rest") else None  # type: ignore[return-value]


def _check_expression(expression: str, flag: str) -> None:
    try:
        _compiled(expression)
    except re.error as e:
        what = f"{expression!r} is no regular expression: {e}"
        raise UsageError(what, where=flag, next_step="Write it as Python's re does") from e


@lru_cache(maxsize=8)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression)


def _matches(expression: str, tokens: tuple[str, ...]) -> Bool[np.ndarray, " pos"]:
    found = np.zeros(len(tokens), bool)
    ends = np.array(list(accumulate(map(len, tokens))), np.int64)
    stops = [m.end() for m in _compiled(expression).finditer("".join(tokens)) if m.end() > m.start()]
    found[np.searchsorted(ends, stops)] = True
    return found


def _ends(text: str, tokens: tuple[str, ...]) -> Bool[np.ndarray, " pos"]:
    """Where some last tokens are together the text."""
    found = np.zeros(len(tokens), bool)
    for pos in range(len(tokens)):
        joined, first = "", pos
        while first >= 0 and len(joined) < len(text):
            joined = tokens[first] + joined
            first -= 1
        found[pos] = joined == text
    return found
