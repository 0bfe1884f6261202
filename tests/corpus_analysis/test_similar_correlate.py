"""Correlations, their intervals and their null, on activations made by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from neuron_signatures.corpus_analysis.activations import Scale, Slab, TokenBlock
from neuron_signatures.corpus_analysis.similar import correlate
from neuron_signatures.corpus_analysis.similar.intervals import correlation_intervals
from neuron_signatures.corpus_analysis.similar.permuted import window_permutation
from neuron_signatures.corpus_analysis.similar.ranked import strongest_columns


class _Block:
    def __init__(self, windows: np.ndarray, values: np.ndarray) -> None:
        self.windows, self.values = windows, values
        self.token_ids = np.zeros(len(windows), np.int64)

    def slabs(self) -> Iterator[Slab]:
        middle = self.values.shape[1] // 2
        for columns in (slice(0, middle), slice(middle, self.values.shape[1])):
            yield Slab(columns, torch.from_numpy(self.values[:, columns]))


class Made:
    """A source of given activations `[token neuron]`, in blocks of whole windows."""

    def __init__(self, values: np.ndarray, window_length: int = 7) -> None:
        self.values = values.astype(np.float32)
        self.windows = np.arange(len(values)) // window_length
        self.neurons = np.array([(0, i) for i in range(values.shape[1])], np.int64)

    def blocks(self) -> Iterator[TokenBlock]:
        for some in np.array_split(np.arange(self.windows[-1] + 1), 5):
            rows = np.isin(self.windows, some)
            yield _Block(self.windows[rows], self.values[rows])


def _scale(values: np.ndarray) -> Scale:
    """Not the moments of the values themselves, as those of a larger corpus are not."""
    sd = values.std(axis=0)
    return Scale((values.mean(axis=0) + 0.1).astype(np.float32), (sd * 1.3 + (sd == 0)).astype(np.float32), sd > 0)


def _planted(rng: np.random.Generator, n_tokens: int = 700) -> np.ndarray:
    """Neuron 1 is a scaled copy of 0 with noise, 2 the negated copy, 3 is constant, others are independent."""
    values = rng.standard_normal((n_tokens, 12)) ** 3 + 5
    values[:, 1] = 3 * values[:, 0] + 0.2 * rng.standard_normal(n_tokens)
    values[:, 2] = -values[:, 0] + 0.2 * rng.standard_normal(n_tokens)
    values[:, 3] = 2.0
    return values


def test_equal_numpys_corrcoef() -> None:
    values = _planted(np.random.default_rng(0))
    source, scale = Made(values), _scale(values)
    stream = correlate.read_stream(source, scale, np.array([0, 5]))
    columns = np.array([0, 2, 4, 11, 3])
    rows = np.concatenate([r for _, r in correlate.correlation_rows(source, scale, stream, columns)])
    with np.errstate(invalid="ignore"):
        expected = np.corrcoef(source.values.astype(np.float64), rowvar=False)[columns]
    expected[np.arange(5), columns] = np.nan
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert np.isnan(rows[:, 3]).all() and np.isnan(rows[4]).all()


def test_parts_of_the_columns_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = _planted(np.random.default_rng(1))
    source, scale = Made(values), _scale(values)
    stream = correlate.read_stream(source, scale, np.array([4, 6]))
    columns = np.arange(12)
    whole = np.concatenate([r for _, r in correlate.correlation_rows(source, scale, stream, columns)])
    null = correlate.null_best(source, scale, stream, np.array([4, 6]), n_draws=3, seed=0)
    monkeypatch.setattr(correlate, "CROSS_BYTES", 8 * 12 * 5)
    parts = list(correlate.correlation_rows(source, scale, stream, columns))
    assert len(parts) == 3
    np.testing.assert_allclose(np.concatenate([r for _, r in parts]), whole, atol=1e-7)
    again = correlate.null_best(source, scale, stream, np.array([4, 6]), n_draws=3, seed=0)
    np.testing.assert_allclose(again, null, atol=1e-7)


def test_planted_copies_are_first_with_their_sign() -> None:
    values = _planted(np.random.default_rng(2))
    source, scale = Made(values), _scale(values)
    stream = correlate.read_stream(source, scale, np.zeros(0, np.int64))
    (_, r), = correlate.correlation_rows(source, scale, stream, np.array([0, 1, 2]))  # fmt: skip
    found = strongest_columns(r, 2, signed=True)
    best = {(row, column): value for row, column, value in zip(found.row, found.column, found.value, strict=True)}
    assert set(best) == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}
    assert best[0, 1] > 0.95 and best[0, 2] < -0.95 and best[1, 2] < -0.95


def test_the_null_is_below_copies_and_near_independent_neurons() -> None:
    values = _planted(np.random.default_rng(3))
    source, scale = Made(values), _scale(values)
    keep = np.array([0, 7])
    stream = correlate.read_stream(source, scale, keep)
    null = correlate.null_best(source, scale, stream, keep, n_draws=200, seed=0)
    (_, r), = correlate.correlation_rows(source, scale, stream, keep)  # fmt: skip
    best = np.nanmax(np.abs(r), axis=1)
    assert null.shape == (200, 2) and null.max() < 0.5 < best[0]
    assert np.percentile(null[:, 1], 1) < best[1] < np.percentile(null[:, 1], 99.5)


def test_the_null_is_the_correlation_with_permuted_windows() -> None:
    values = _planted(np.random.default_rng(4))
    source, scale = Made(values), _scale(values)
    keep = np.array([6])
    stream = correlate.read_stream(source, scale, keep)
    found = correlate.null_best(source, scale, stream, keep, n_draws=4, seed=9)
    for draw in range(4):
        order = window_permutation(stream.windows, np.random.default_rng([9, draw]))
        own = source.values[order, 6].astype(np.float64)
        others = [i for i in range(12) if i not in (3, 6)]
        r = [np.corrcoef(own, source.values[:, i].astype(np.float64))[0, 1] for i in others]
        assert abs(found[draw, 0] - np.max(np.abs(r))) < 1e-6


def test_windows_move_whole_and_none_stays() -> None:
    lengths = np.array([9] * 12 + [8] * 2 + [7] * 9 + [5, 4, 4, 3] + [2])
    windows = np.repeat(np.arange(len(lengths)), lengths)
    for seed in range(5):
        order = window_permutation(windows, np.random.default_rng(seed))
        assert np.array_equal(np.sort(order), np.arange(len(windows)))
        first = np.flatnonzero(np.diff(windows, prepend=-1))
        common = np.isin(lengths, (9, 7))
        assert (windows[order][first] != windows[first])[common].all()
        nine = windows < 12  # aligned: position i of a window comes from position i of another
        assert (order[nine] % 9 == np.arange(len(windows))[nine] % 9).all()
        assert set(windows[order][nine]) == set(range(12))


def test_one_window_can_only_stay() -> None:
    assert window_permutation(np.zeros(5, np.int64), np.random.default_rng(0)).tolist() == list(range(5))


def test_intervals_cover_the_correlation_of_clustered_tokens() -> None:
    """Tokens of a document share a part of their activation, so an interval over tokens would be too narrow."""
    rng = np.random.default_rng(5)
    n_documents, n_windows, covered, widths = 60, 120, 0, []
    document = np.arange(n_windows) // 2
    for _ in range(60):
        shared = np.repeat(rng.standard_normal((n_documents, 2)), 20, axis=0)
        noise = rng.standard_normal((n_documents * 20, 2))
        a = shared[:, 0] + noise[:, 0]
        b = 0.8 * shared[:, 0] + 0.6 * shared[:, 1] + noise[:, 1]
        source = Made(np.stack([a, b], axis=1), window_length=10)
        scale = _scale(source.values)
        stream = correlate.read_stream(source, scale, np.zeros(0, np.int64))
        (_, r), = correlate.correlation_rows(source, scale, stream, np.array([0]))  # fmt: skip
        interval = correlation_intervals(source, scale, stream, np.array([[0, 1]]), r[0, 1:], document)
        covered += interval.low[0] <= 0.4 <= interval.high[0]
        widths.append(interval.high[0] - interval.low[0])
    assert covered >= 52  # 57 expected; fewer than 52 of 60 has a chance of 1 % at 94 %
    assert np.median(widths) > 1.8 * 2 * 1.96 * (1 - 0.16) / np.sqrt(1200)


def test_the_interval_of_an_exact_copy_is_a_point() -> None:
    values = np.random.default_rng(6).standard_normal((200, 2))
    values[:, 1] = -values[:, 0]
    source, scale = Made(values, window_length=10), _scale(values)
    stream = correlate.read_stream(source, scale, np.zeros(0, np.int64))
    (_, r), = correlate.correlation_rows(source, scale, stream, np.array([0]))  # fmt: skip
    low, high = correlation_intervals(source, scale, stream, np.array([[0, 1]]), r[0, 1:], np.arange(20))
    np.testing.assert_allclose([low[0], high[0]], [-1, -1], atol=1e-4)
    low, high = correlation_intervals(source, scale, stream, np.array([[0, 1]]), r[0, 1:], np.arange(20) // 4)
    assert np.isnan(low[0]) and np.isnan(high[0])  # five documents are too few
