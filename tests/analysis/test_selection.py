"""Selection follows its definition: at shares 0 and 1, with ties, and with NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_signatures.analysis.selection import SelectionConfig, select
from neuron_signatures.runs.errors import UsageError

NAN, INF = math.nan, math.inf


def chosen(score, config, layer=None, neuron=None):
    n = len(score)
    layer = np.zeros(n, np.int32) if layer is None else np.array(layer)
    neuron = np.arange(n) if neuron is None else np.array(neuron)
    return select(np.array(score, np.float64), layer, neuron, config)


def rows_at(score, threshold):
    return chosen(score, SelectionConfig(cumulative_threshold=float(threshold))).rows.tolist()


def test_the_smallest_prefix_that_reaches_the_share():
    score = [1, 4, 2, 3]
    assert rows_at(score, 0.39) == [1]
    assert rows_at(score, 0.4) == [1]
    assert rows_at(score, 0.41) == [1, 3]
    assert rows_at(score, 0.7) == [1, 3]
    assert rows_at(score, 0.9) == [1, 3, 2]
    assert rows_at(score, 0.91) == [1, 3, 2, 0]


def test_share_0_selects_nothing_and_share_1_all_positive_scores():
    assert rows_at([1, 4, 0, 3], 0) == []
    assert rows_at([1, 4, 0, 3], 1) == [1, 3, 0]
    assert rows_at([1e30, 1e-30, 0, 5], 1) == [0, 3, 1]  # however small beside the sum


def test_a_column_of_zeros_has_no_shares():
    found = chosen([0, 0, 0], SelectionConfig(cumulative_threshold=0.8))
    assert (found.rows.tolist(), found.total) == ([], 0)
    found = chosen([0, 0, 0], SelectionConfig(top_k=2))
    assert found.rows.tolist() == [0, 1]
    assert np.isnan(found.share).all() and np.isnan(found.cumulative_share).all()


def test_ties_go_by_layer_then_neuron():
    found = chosen([2, 2, 5, 2], SelectionConfig(top_k=3), layer=[1, 0, 2, 0], neuron=[0, 9, 0, 3])
    assert found.rows.tolist() == [2, 3, 1]


def test_nonfinite_scores_are_last_and_excluded():
    found = chosen([NAN, 1, INF, 3, -INF], SelectionConfig(top_k=5))
    assert found.rows.tolist() == [3, 1]
    assert found.total == 4
    assert found.cumulative_share.tolist() == [0.75, 1.0]
    assert rows_at([NAN, 1, INF, 3], 1) == [3, 1]
    assert chosen([NAN, NAN], SelectionConfig(cumulative_threshold=1.0)).rows.tolist() == []
    assert chosen([], SelectionConfig(top_k=3)).rows.tolist() == []


def test_shares_are_of_the_whole_column():
    found = chosen([1, 4, 2, 3], SelectionConfig(top_k=2))
    assert found.share.tolist() == [0.4, 0.3]
    assert found.cumulative_share.tolist() == pytest.approx([0.4, 0.7])


def test_per_layer_k():
    score, layer = [9, 8, 7, 1, 2, 3, 8], [0, 0, 0, 1, 1, 1, 2]
    found = chosen(score, SelectionConfig(per_layer_k=2), layer=layer)
    assert found.rows.tolist() == [0, 1, 6, 5, 4]
    found = chosen(score, SelectionConfig(per_layer_k=1, top_k=2), layer=layer)
    assert found.rows.tolist() == [0, 6]
    assert found.share.tolist() == [9 / 38, 8 / 38]
    # The rows left per layer hold 20 of 38: a share of .5 needs 19 of it, a share of .9 selects all of it.
    assert chosen(score, SelectionConfig(1, 0.5), layer=layer).rows.tolist() == [0, 6, 5]
    assert chosen(score, SelectionConfig(1, 0.9), layer=layer).rows.tolist() == [0, 6, 5]


def test_limits_combine():
    assert chosen([1, 4, 2, 3], SelectionConfig(cumulative_threshold=0.9, top_k=2)).rows.tolist() == [1, 3]
    assert chosen([1, 4, 2, 3], SelectionConfig()).rows.tolist() == [1, 3, 2, 0]


def test_signed_scores_have_a_rank_but_no_shares():
    found = chosen([-1, 2, 0], SelectionConfig(top_k=3))
    assert found.rows.tolist() == [1, 2, 0]
    assert math.isnan(found.total) and np.isnan(found.share).all()
    with pytest.raises(UsageError, match=r"negative values.*--top_k"):
        chosen([-1, 2, 0], SelectionConfig(cumulative_threshold=0.5))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SelectionConfig(cumulative_threshold=1.01), r"1.01 is not in \[0, 1\]"),
        (SelectionConfig(cumulative_threshold=-0.1), r"not in \[0, 1\]"),
        (SelectionConfig(cumulative_threshold=NAN), r"nan is not in \[0, 1\]"),
        (SelectionConfig(top_k=0), "--top_k 0 is below 1"),
        (SelectionConfig(per_layer_k=-3), "--per_layer_k -3 is below 1"),
    ],
)
def test_limits_out_of_range(config, message):
    with pytest.raises(UsageError, match=message):
        chosen([1, 2], config)


@pytest.mark.parametrize("parts", [3, 7, 10, 49])
def test_equal_parts_reach_their_share_despite_rounding(parts):
    for n in range(1, parts):
        assert len(rows_at([0.1] * parts, n / parts)) == n


@given(
    st.lists(st.one_of(st.integers(0, 5), st.just(NAN)), max_size=12),
    st.integers(0, 20),
)
@settings(deadline=None)
def test_selection_equals_a_loop(score, twentieths):
    threshold = twentieths / 20
    ranked = sorted((i for i, s in enumerate(score) if s == s), key=lambda i: (-score[i], i))
    total = sum(score[i] for i in ranked)
    want: list[int] = []
    while total and sum(score[i] for i in want) * 20 < twentieths * total:
        want.append(ranked[len(want)])
    assert rows_at(score, threshold) == want
