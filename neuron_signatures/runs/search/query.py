"""A search by words as typed: words, phrases, beginnings of words, and which rows are searched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.search.words import words_of

MOST_WORDS: Final = 50
"""Words of a query, those of phrases and characters of scripts without spaces included."""
_TERM: Final = re.compile(
    r'set:(?P<set>"[^"]+"|\S+)'
    r"|L(?P<layer>\d{1,6})(?:N(?P<neuron>\d{1,9}))?(?P<pole>[+-]?)(?!\S)"
    r'|"(?P<phrase>[^"]*)"?'
    r"|(?P<word>[^\s\"]+)",
    re.IGNORECASE | re.ASCII,
)


class Term(NamedTuple):
    """Words that follow one another; with `is_prefix`, the last one may continue."""

    words: tuple[str, ...]
    is_prefix: bool

    def match(self) -> str:
        """In the syntax of FTS5. Words are letters and digits, so nothing in them is syntax."""
        return f'"{" ".join(self.words)}"{" *" if self.is_prefix else ""}'

    @property
    def whole(self) -> tuple[str, ...]:
        """The words that do not continue."""
        return self.words[:-1] if self.is_prefix else self.words


class Place(NamedTuple):
    """A layer, a neuron of it, or one of its poles; None: any."""

    layer: int
    neuron: int | None
    pole: Pole | None


@dataclass(frozen=True)
class WordQuery:
    """All `terms` are looked for, in the rows of one of the `places` and of one of the `sets`; none: in all rows."""

    terms: tuple[Term, ...]
    places: tuple[Place, ...] = ()
    sets: tuple[str, ...] = ()
    """Names without case; exemplars are in no set."""


def parse(query: str) -> WordQuery:
    """The query as typed. Raises `UsageError` if it has no word or more than `MOST_WORDS`."""
    terms: list[Term] = []
    places: list[Place] = []
    sets: list[str] = []
    for m in _TERM.finditer(query):
        if m["set"]:
            sets.append(m["set"].strip('"').casefold())
        elif m["layer"]:
            pole: Pole | None = "+" if m["pole"] == "+" else "-" if m["pole"] == "-" else None
            places.append(Place(int(m["layer"]), int(m["neuron"]) if m["neuron"] else None, pole))
        else:
            text = m["word"] or m["phrase"] or ""
            if words := words_of(text):
                terms.append(Term(tuple(words), bool(m["word"]) and text.endswith("*")))
    n_words = sum(len(term.words) for term in terms)
    if not terms:
        what = "there is no word to look for"
        next_step = "Give a word of letters or digits; L3, L3N14- and set:NAME only restrict where it is looked for"
        raise UsageError(what, where="query", next_step=next_step)
    if n_words > MOST_WORDS:
        raise UsageError(f"has {n_words} words; {MOST_WORDS} can be looked for", where="query")
    return WordQuery(tuple(dict.fromkeys(terms)), tuple(places), tuple(sets))
