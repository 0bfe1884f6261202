"""Windows, parts and settings of a corpus."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_signatures.records.corpus.parts import part_index
from neuron_signatures.records.corpus.settings import CorpusSettings
from neuron_signatures.records.corpus.windows import count_windows, cut_windows, tokens_of_windows
from neuron_signatures.runs.errors import UsageError


def windows(n: int, **settings: int | None) -> list[tuple[int, int, int]]:
    return [tuple(map(int, w)) for w in zip(*cut_windows(n, CorpusSettings(**settings)), strict=True)]  # type: ignore[misc,arg-type]


def test_without_bos_the_first_position_of_a_window_does_not_count() -> None:
    assert windows(10, sequence_length=4) == [(0, 4, 1), (4, 4, 1), (8, 2, 1)]
    assert windows(9, sequence_length=4) == [(0, 4, 1), (4, 4, 1)]  # a last window of one token has none that counts


def test_with_bos_a_window_has_one_token_less_and_all_count() -> None:
    assert windows(7, sequence_length=4, bos_token_id=1) == [(0, 3, 0), (3, 3, 0), (6, 1, 0)]
    assert windows(7, sequence_length=4, bos_token_id=1, skip_first=3) == [(0, 3, 2), (3, 3, 2)]


def test_overlap_does_not_count_again() -> None:
    assert windows(9, sequence_length=4, stride=2) == [(0, 4, 1), (2, 4, 2), (4, 4, 2), (6, 3, 2)]


def test_a_document_of_one_token() -> None:
    assert windows(1, sequence_length=4) == []
    assert windows(1, sequence_length=4, bos_token_id=1) == [(0, 1, 0)]
    assert windows(0, sequence_length=4, bos_token_id=1) == []


@st.composite
def settings(draw: st.DrawFn) -> CorpusSettings:
    bos = draw(st.sampled_from([None, 1]))
    length = draw(st.integers(2, 12))
    stride = draw(st.none() | st.integers(1, length - (bos is not None)))
    return CorpusSettings(
        sequence_length=length, bos_token_id=bos, stride=stride, skip_first=draw(st.integers(0, length - 1))
    )


@given(settings(), st.integers(0, 60))
def test_the_number_of_windows(s: CorpusSettings, n: int) -> None:
    assert count_windows(n, s) == len(cut_windows(n, s).start)


@given(settings(), st.integers(0, 60))
def test_each_token_counts_at_most_once_and_enough_of_them(s: CorpusSettings, n: int) -> None:
    found = cut_windows(n, s)
    times = np.zeros(n, int)
    for start, length, counted in zip(*found, strict=True):
        assert 1 <= length <= s.text_length and 0 <= counted < length and start + length <= n
        times[start + counted : start + length] += 1
    assert times.max(initial=0) <= 1
    if s.stride is None or s.text_length - s.step >= s.first_counted:
        # at most the first tokens of windows do not count
        uncounted = {start + i for start in range(0, n, s.step) for i in range(s.first_counted)}
        assert set(np.flatnonzero(times == 0)) <= uncounted
    assert found.n_counted == times.sum()


@given(settings(), st.integers(1, 60), st.integers(1, 8))
def test_tokens_of_the_first_windows(s: CorpusSettings, n: int, most: int) -> None:
    all_windows = cut_windows(n, s)
    cut = cut_windows(tokens_of_windows(n, most, s), s)
    for whole, part in zip(all_windows, cut, strict=True):
        assert list(part) == list(whole[:most])


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.binary(min_size=32, max_size=32))
def test_the_part_is_by_the_first_8_bytes_of_the_hash(seed: int, digest: bytes) -> None:
    drawn = hashlib.sha256(seed.to_bytes(8, "little", signed=True) + digest).digest()
    fraction = int.from_bytes(drawn[:8], "big") / 2**64
    expected = 0 if fraction < 0.5 else 1 if fraction < 0.7 else 2
    assert part_index(digest, seed=seed, percent=(50, 20, 30)) == expected
    assert part_index(digest, seed=seed, percent=(100, 0, 0)) == 0


def test_parts_have_about_their_percentages() -> None:
    found = [part_index(hashlib.sha256(bytes([i % 256, i // 256])).digest(), seed=3, percent=(50, 20, 30))
             for i in range(5000)]  # fmt: skip
    assert np.allclose(np.bincount(found) / 5000, (0.5, 0.2, 0.3), atol=0.03)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"sequence_length": 1}, "--sequence_length"),
        ({"sequence_length": 1 << 16}, "--sequence_length"),
        ({"stride": 0}, "--stride"),
        ({"sequence_length": 8, "stride": 8, "bos_token_id": 1}, "--stride"),
        ({"skip_first": 128}, "--skip_first"),
        ({"parts": (50, 50, 50)}, "--parts"),
        ({"parts": (0, 50, 50)}, "--parts"),
        ({"parts": (120, -20, 0)}, "--parts"),
        ({"concatenate": True}, "--concatenate"),
        ({"max_tokens": 0}, "--max_tokens"),
        ({"max_windows": -1}, "--max_sequences"),
        ({"max_document": 0}, "--max_document"),
        ({"seed": 1 << 63}, "--seed"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, object], flag: str) -> None:
    with pytest.raises(UsageError, match=f"^{flag}: "):
        CorpusSettings(**changes)  # type: ignore[arg-type]
