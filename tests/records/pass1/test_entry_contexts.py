"""Contexts of single entries against those of whole windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpora import Texts, build
from hypothesis import given, settings
from hypothesis import strategies as st
from record_passes import small_corpus

from neuron_signatures.records.corpus import scattered
from neuron_signatures.records.pass1.contexts import SPAN, context_hashes, entry_contexts
from neuron_signatures.runs.records.corpus import Corpus


def by_windows(corpus: Corpus, window: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """`context_hashes` of one window after the other."""
    return np.array([
        context_hashes(corpus.token_ids(int(w))[None])[0, int(p)] for w, p in zip(window, pos, strict=True)
    ], dtype=np.int64)  # fmt: skip


def some_entries(corpus: Corpus, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random windows and positions, with the types of a state; some of them twice."""
    rng = np.random.default_rng(seed)
    window = rng.integers(0, corpus.n_windows, n).astype(np.int32)
    return window, (rng.random(n) * corpus.window_length[window]).astype(np.int16)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 60), min_size=1, max_size=12),
    sequence_length=st.integers(4, 40),
    bos=st.booleans(),
    overlap=st.booleans(),
    at_once=st.sampled_from([1, 16, 100, 1 << 20]),
    seed=st.integers(0, 1 << 30),
)
def test_equal_those_of_whole_windows(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], sequence_length: int, bos: bool, overlap: bool,
    at_once: int, seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    texts = [f"{i} " + "".join(rng.choice(list("abc"), n)) for i, n in enumerate(sizes)]
    folder = tmp_path_factory.mktemp("corpus")
    options = {"bos_token_id": 1} if bos else {}
    options |= {"stride": max(1, sequence_length // 3)} if overlap else {}
    build(folder, Texts(texts), sequence_length=sequence_length, **options)
    with Corpus.open(folder) as corpus, pytest.MonkeyPatch.context() as patch:
        patch.setattr(scattered, "_TOKENS_AT_ONCE", at_once)
        window, pos = some_entries(corpus, 50, seed)
        np.testing.assert_array_equal(entry_contexts(corpus, window, pos), by_windows(corpus, window, pos))


def test_every_position_of_a_corpus(tmp_path: Path) -> None:
    with small_corpus(tmp_path, sequence_length=3 * SPAN) as corpus:
        window = np.repeat(np.arange(corpus.n_windows), corpus.window_length)
        pos = np.concatenate([np.arange(n) for n in corpus.window_length])
        np.testing.assert_array_equal(entry_contexts(corpus, window, pos), by_windows(corpus, window, pos))


def test_no_entries(tmp_path: Path) -> None:
    with small_corpus(tmp_path) as corpus:
        assert entry_contexts(corpus, np.zeros(0, np.int32), np.zeros(0, np.int16)).shape == (0,)


def test_tokens_at_positions(tmp_path: Path) -> None:
    with small_corpus(tmp_path) as corpus:
        window, pos = some_entries(corpus, 200, 0)
        wanted = [corpus.token_ids(int(w))[p] for w, p in zip(window, pos, strict=True)]
        np.testing.assert_array_equal(scattered.tokens_at(corpus, window, pos), wanted)
