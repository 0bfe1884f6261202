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
    index: dict[tuple[str, ...], int] = {}
    for i, ngram in enumerate(ngrams):
        index.setdefault(tuple(ngram), i)
    lengths = sorted({len(ngram) for ngram in index}, reverse=True)
    found = np.full(len(tokens), -1, np.int64)
    for pos in range(len(tokens)):
        for n in lengths:
            match = index.get(tuple(tokens[pos + 1 - n : pos + 1])) if n <= pos + 1 else None
            if match is not None:
                found[pos] = match
                break
    return found
