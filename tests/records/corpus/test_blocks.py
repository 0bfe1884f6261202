"""Blocks of whole documents, their batches, and shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpora import Texts, build
from hypothesis import given
from hypothesis import strategies as st

from neuron_signatures.records.corpus.blocks import BLOCK_BATCHES, SHORT_WINDOWS, Block, batches, blocks, shard_blocks
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.sharding.shard import Shard


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdef"), rng.integers(2, 60))) for _ in range(80)]
    folder = tmp_path_factory.mktemp("run")
    build(folder, Texts(texts))
    return Corpus.open(folder)


def test_blocks_that_can_be_checked_by_eye(tmp_path: Path) -> None:
    build(tmp_path, Texts(["a" * 16, "b" * 8, "c" * 40, "d" * 5, "e" * 7]))
    with Corpus.open(tmp_path) as corpus:
        assert corpus.window_document.tolist() == [0, 0, 1, 2, 2, 2, 2, 2, 3, 4]
        assert corpus.meta.sequence_length == 8  # a block of batches of one window: 32 tokens
        assert blocks(corpus, 1) == [Block(0, 0, 8), Block(1, 8, 10)]
        assert blocks(corpus, 99) == [Block(0, 0, 10)]
        assert [b.tolist() for b in batches(corpus, Block(2, 3, 10), 3)] == [[3, 4, 5], [6, 7, 9], [8]]
        assert [b.tolist() for b in batches(corpus, Block(2, 8, 10), 1)] == [[9], [8]]


def test_short_windows_fill_a_batch(tmp_path: Path) -> None:
    build(tmp_path, Texts([chr(97 + i % 26) + chr(97 + i // 26) for i in range(60)]))
    with Corpus.open(tmp_path) as corpus:
        assert set(corpus.window_length.tolist()) == {2} and corpus.meta.sequence_length == 8
        assert [len(b) for b in batches(corpus, Block(0, 0, 60), 4)] == [4 * SHORT_WINDOWS] * 3 + [12]
        assert [b.stop_window - b.first_window for b in blocks(corpus, 2)] == [32, 28]


@given(st.integers(1, 50), st.integers(1, 9))
def test_blocks_hold_each_window_once_and_whole_documents(corpus: Corpus, size: int, batch_size: int) -> None:
    found = blocks(corpus, size)
    assert [b.number for b in found] == list(range(len(found)))
    assert [b.first_window for b in found] == [0, *(b.stop_window for b in found[:-1])]
    assert found[-1].stop_window == corpus.n_windows
    for block in found:
        last_document = corpus.document(int(corpus.window_document[block.stop_window - 1]))
        assert block.stop_window == last_document.first_window + last_document.n_windows
        tokens = int(corpus.window_length[block.first_window : last_document.first_window].sum())
        assert tokens <= BLOCK_BATCHES * size * corpus.meta.sequence_length
        batched = batches(corpus, block, batch_size)
        assert sorted(np.concatenate(batched)) == list(range(block.first_window, block.stop_window))
        space = batch_size * corpus.meta.sequence_length
        assert all(len(b) * int(corpus.window_length[b[0]]) <= space for b in batched)
        keys = [(-int(corpus.window_length[w]), int(w)) for b in batched for w in b]
        assert keys == sorted(keys)


@given(st.integers(1, 30), st.integers(1, 12))
def test_shards_are_the_blocks_in_order(corpus: Corpus, size: int, n: int) -> None:
    found = blocks(corpus, size)
    shards = [shard_blocks(corpus, found, Shard(i + 1, n)) for i in range(n)]
    assert [b for s in shards for b in s] == found


def test_shards_have_about_the_same_number_of_tokens(corpus: Corpus) -> None:
    found = blocks(corpus, 1)
    tokens = [
        sum(
            int(corpus.window_length[b.first_window : b.stop_window].sum())
            for b in shard_blocks(corpus, found, Shard(i + 1, 4))
        )
        for i in range(4)
    ]
    assert max(tokens) - min(tokens) <= 2 * (BLOCK_BATCHES * corpus.meta.sequence_length + 60)
