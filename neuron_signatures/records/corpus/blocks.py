"""Groups the windows of a corpus into blocks of whole documents, and a block into batches.

The bits of an activation depend on the batch that its window is in. So batches are made from a block alone, and a shard
has whole blocks: any number of shards computes the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.sharding.shard import Shard, items_of

BLOCK_BATCHES = 4
"""Full batches in a block."""
SHORT_WINDOWS = 4
"""A batch of short windows has at most this many times the windows of a full one."""


class Block(NamedTuple):
    """Windows `first_window` to `stop_window` (excluded); `number` is its place in the corpus, from 0."""

    number: int
    first_window: int
    stop_window: int


def blocks(corpus: Corpus, batch_size: int) -> list[Block]:
    """All windows in blocks of consecutive whole documents.

    A block ends with the first document that brings it to the tokens of `BLOCK_BATCHES` full batches, or to as many
    windows as `BLOCK_BATCHES` batches of short windows have; the last one may have fewer.
    """
    ends = np.flatnonzero(np.diff(corpus.window_document, append=-1)) + 1  # of the documents, in windows
    tokens = np.concatenate([[0], np.cumsum(corpus.window_length, dtype=np.int64)])
    budget = BLOCK_BATCHES * batch_size * corpus.meta.sequence_length
    found: list[Block] = []
    first = 0
    while first < corpus.n_windows:
        by_tokens = int(np.searchsorted(tokens, tokens[first] + budget))
        wanted = min(by_tokens, first + BLOCK_BATCHES * SHORT_WINDOWS * batch_size)
        stop = int(ends[min(int(np.searchsorted(ends, wanted)), len(ends) - 1)])
        found.append(Block(len(found), first, stop))
        first = stop
    return found


def batches(corpus: Corpus, block: Block, batch_size: int) -> list[np.ndarray]:
    """The windows of a block in batches of similar length: sorted by length, longest first, then by window.

    A batch has `batch_size` windows of full length, or as many shorter ones as take the same space with their padding,
    at most `SHORT_WINDOWS` times as many.
    """
    windows = np.arange(block.first_window, block.stop_window)
    lengths = corpus.window_length[windows].astype(np.int64)
    return in_batches(corpus, windows[np.argsort(-lengths, kind="stable")], batch_size)


def in_batches(corpus: Corpus, ordered: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Windows that are sorted by length, longest first, in batches as those of `batches`."""
    found, start = [], 0
    while start < len(ordered):
        longest = int(corpus.window_length[ordered[start]])
        n = min(batch_size * corpus.meta.sequence_length // max(1, longest), SHORT_WINDOWS * batch_size)
        found.append(ordered[start : start + max(1, n)])
        start += max(1, n)
    return found


def model_inputs(corpus: Corpus, windows: np.ndarray) -> list[list[int]]:
    """The token ids that the model reads for each window: its BOS, if the corpus has one, and the text tokens."""
    meta = corpus.meta
    front = [meta.bos_token_id] if meta.prepend_bos and meta.bos_token_id is not None else []
    return [[*front, *corpus.token_ids(int(w)).tolist()] for w in windows]


def longest_window(corpus: Corpus) -> list[int]:
    """The token ids of a window that is as long as any, for the comparison of two backends."""
    return [int(i) for i in corpus.token_ids(int(corpus.window_length.argmax()))]


def shard_blocks(corpus: Corpus, found: Sequence[Block], shard: Shard) -> list[Block]:
    """The blocks of a shard: consecutive ones with about the same number of tokens. Shards can be empty."""
    ends = np.concatenate([[0], np.cumsum(corpus.window_length, dtype=np.int64)])
    sizes = [int(ends[b.stop_window] - ends[b.first_window]) for b in found]
    own = items_of(sizes, shard)
    return list(found[own.start : own.stop])


def span(own: Sequence[Block]) -> tuple[int, int]:
    """The number of the first of consecutive blocks and that after the last; 0 and 0 without blocks."""
    first = own[0].number if own else 0
    return first, first + len(own)
