"""Reads tokens at scattered positions of a corpus, in the order in which they are on disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, Integer

from neuron_signatures.runs.records.corpus import Corpus

_TOKENS_AT_ONCE = 1 << 20


class Nearby(NamedTuple):
    """Some of the positions: their places among all (`members`), and their windows.

    `tokens` are tokens of the corpus, in which the positions are at `at`.
    """

    members: Int64[np.ndarray, " member"]
    window: Integer[np.ndarray, " member"]
    at: Int64[np.ndarray, " member"]
    tokens: Int32[np.ndarray, " token"]


def nearby_tokens(
    corpus: Corpus, window: Integer[np.ndarray, " position"], pos: Integer[np.ndarray, " position"], margin: int
) -> Iterator[Nearby]:
    """Positions of windows with the tokens around them, in parts: each position is a member of one of these.

    There are `margin` tokens on both sides of each position, except at the ends of the corpus.
    """
    if not len(window):
        return
    block = window // max(1, _TOKENS_AT_ONCE // corpus.meta.sequence_length)
    n_blocks = int(block.max()) + 1
    # numpy sorts 16-bit integers by counting, much faster than others.
    order = np.argsort(block.astype(np.uint16) if n_blocks <= 1 << 16 else block, kind="stable")
    ends = np.cumsum(np.bincount(block, minlength=n_blocks))
    for members in (m for m in np.split(order, ends[:-1]) if len(m)):
        of_members = window[members]
        at = corpus.window_start[of_members] + pos[members]
        first = max(0, int(at.min()) - margin)
        stop = min(corpus.meta.n_tokens, int(at.max()) + margin + 1)
        yield Nearby(members, of_members, at - first, corpus.tokens_between(first, stop))


def tokens_at(
    corpus: Corpus, window: Integer[np.ndarray, " position"], pos: Integer[np.ndarray, " position"]
) -> Int32[np.ndarray, " position"]:
    """The tokens at positions of windows."""
    found = np.zeros(len(window), dtype=np.int32)
    for part in nearby_tokens(corpus, window, pos, 0):
        found[part.members] = part.tokens[part.at]
    return found
