"""The oracle itself, on corpora whose answer is visible."""

from __future__ import annotations

import numpy as np
from record_oracle import OracleWindow, finite_windows, histograms, moments, strongest_lists


def window(n: int, document: int, values, *, part: int = 0, ids=None, counted_from: int = 0) -> OracleWindow:
    acts = np.array(values, np.float32).reshape(-1, 1)
    ids = tuple(ids) if ids is not None else tuple(range(100 * n, 100 * n + len(acts)))
    return OracleWindow(n, document, part, ids, acts, counted_from)


def test_a_document_enters_once_with_its_earliest_strongest_position():
    windows = [window(0, 0, [1, 3, 3]), window(1, 0, [3, 0]), window(2, 1, [2]), window(3, 2, [3])]
    found = strongest_lists(windows, top_k=4)
    assert found.window[0, 0, 0].tolist() == [0, 3, 2, -1]
    assert found.pos[0, 0, 0].tolist() == [1, 0, 0, 0]
    assert found.value[0, 0, 1].tolist() == [0, 2, 3, 0] and found.window[0, 0, 1].tolist() == [1, 2, 3, -1]


def test_one_entry_per_context_and_alignment():
    same = [window(i, i, [0, v, 0], ids=(7, 8, 9)) for i, v in enumerate([1, 5, 5])]
    shifted = window(3, 3, [0, 0, 4, 0], ids=(6, 7, 8, 9))
    far = [window(4 + i, 4 + i, [0] * 20 + [v], ids=(i, *range(50, 70))) for i, v in enumerate([2, 3])]
    found = strongest_lists([*same, shifted, *far], top_k=5)
    assert found.window[0, 0, 0].tolist() == [1, 3, 5, -1, -1]


def test_parts_and_positions_that_do_not_count():
    windows = [window(0, 0, [9, 1], counted_from=1), window(1, 1, [4], part=2)]
    found = strongest_lists(windows, top_k=1)
    assert found.value[0, :, 0, 0].tolist() == [1, 0, 4] and found.window[0, :, 0, 0].tolist() == [0, -1, 1]
    assert moments(windows).count[0].tolist() == [1, 0, 1] and moments(windows).mean[0].tolist() == [1, 0, 4]


def test_moments_by_hand():
    found = moments([window(0, 0, [0, 0, 0, 4])])
    assert (found.mean[0, 0], found.m2[0, 0], found.m3[0, 0], found.m4[0, 0]) == (1, 3, 6, 21)


def test_bins_by_hand():
    edges = np.array([0, 1, 2], np.float32)
    windows = [window(0, 0, [0.0, -0.0, 0.5, 1.0, 2.0, 9.0, -0.5, -1.0, -9.0]), window(1, 1, [5.0])]
    assert histograms(windows, edges, {0})[0, 0].tolist() == [1, 1, 1, 3, 1, 2]


def test_windows_with_nan_are_left_out_unless_it_does_not_count():
    windows = [window(0, 0, [np.nan, 1]), window(1, 1, [np.inf, 1], counted_from=1)]
    assert [w.window for w in finite_windows(windows)] == [1]
