"""Groups the windows of a corpus into blocks of whole documents, and a block into batches.

The bits of an activation depend on the batch that its window is in. So batches are made from a block alone, and a shard
has whole blocks: any number of shards computes the same values.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.records.corpus import Corpus


class Block(NamedTuple):
    """Windows `first_window` to `stop_window` (excluded); `number` is its place in the corpus, from 0."""

    number: int
    first_window: int
    stop_window: int


def blocks(corpus: Corpus, block_windows: int) -> list[Block]:
    """All windows in blocks of consecutive whole documents.

    A block ends with the first document that brings it to `block_windows` windows; the last one may have fewer.
    """
    ends = np.flatnonzero(np.diff(corpus.window_document, append=-1)) + 1  # of the documents, in windows
    found: list[Block] = []
    first = 0
    while first < corpus.n_windows:
        document = min(int(np.searchsorted(ends, first + block_windows)), len(ends) - 1)
        stop = int(ends[document])
        found.append(Block(len(found), first, stop))
        first = stop
    return found


def batches(corpus: Corpus, block: Block, batch_size: int) -> list[np.ndarray]:
    """The windows of a block in batches of similar length: sorted by length, longest first, then by window."""
    windows = np.arange(block.first_window, block.stop_window)
    order = np.argsort(-corpus.window_length[windows].astype(np.int64), kind="stable")
    ordered = windows[order]
    return [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]


def shard(corpus: Corpus, found: list[Block], number: int, n_shards: int) -> list[Block]:
    """The blocks of shard `number` (from 0) of `n_shards`: consecutive ones with about the same number of tokens.

    Each block belongs to the shard in whose share of all tokens its middle is. Shards can be empty.
    """
    assert 0 <= number < n_shards
    sizes = [int(corpus.window_length[b.first_window : b.stop_window].sum()) for b in found]
    total, ends = sum(sizes), itertools.accumulate(sizes)
    middles = [2 * end - size for end, size in zip(ends, sizes, strict=True)]  # twice the tokens before the middle
    return [b for b, m in zip(found, middles, strict=True) if min(m * n_shards // (2 * total), n_shards - 1) == number]
