"""Where the n-grams of a rule end in a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int64


def longest_match(ngrams: Sequence[Sequence[str]], tokens: Sequence[str]) -> Int64[np.ndarray, " pos"]:
    """The index of the longest n-gram that ends at each position; -1 where none ends.

    Tokens match exactly: `Austin` and ` Austin` differ. An n-gram may begin at a position that does not count, but not
    before the first token. Of equal n-grams the first one matches.
    """
    return Ngrams(ngrams).longest(tokens)


class Ngrams:
    """N-grams to be looked for in many texts."""

    def __init__(self, ngrams: Sequence[Sequence[str]]) -> None:
        self._by_last: dict[str, dict[tuple[str, ...], int]] = {}
        for i, ngram in enumerate(ngrams):
            self._by_last.setdefault(ngram[-1], {}).setdefault(tuple(ngram), i)

    def longest(self, tokens: Sequence[str]) -> Int64[np.ndarray, " pos"]:
        """As `longest_match`."""
        found = np.full(len(tokens), -1, np.int64)
        if self._by_last.keys().isdisjoint(tokens):
            return found
        for pos in [pos for pos, token in enumerate(tokens) if token in self._by_last]:
            index = self._by_last[tokens[pos]]
            ends = (ngram for ngram in index if tuple(tokens[max(0, pos + 1 - len(ngram)) : pos + 1]) == ngram)
            found[pos] = index.get(max(ends, key=len, default=()), -1)
        return found
