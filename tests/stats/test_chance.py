"""Binomial tails and Benjamini-Hochberg against scipy; p of random draws as text."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from neuron_signatures.stats.chance import benjamini_hochberg, binomial_tail, shown_p


def test_binomial_tail_equals_scipy():
    times, of, rate = np.array([0, 1, 3, 5, 5]), np.array([5, 5, 5, 5, 0 + 5]), np.array([0.5, 0.2, 0.2, 0.2, 1.0])
    assert binomial_tail(times, of, rate) == pytest.approx(stats.binom.sf(times - 1, of, rate))
    assert binomial_tail(np.array([0]), np.array([0]), np.array([0.3])) == [1]


def test_binomial_tail_bounds_trials_of_different_rates():
    rates = np.array([0.9, 0.1, 0.5, 0.05, 0.2])
    counts = np.array([1.0])
    for r in rates:
        counts = np.convolve(counts, [1 - r, r])
    exact = counts[::-1].cumsum()[::-1]
    n, mean = len(rates), rates.mean()
    for times in range(int(np.ceil(n * mean + 1)), n + 1):
        assert binomial_tail(np.array([times]), np.array([n]), np.array([mean]))[0] >= exact[times]


def test_benjamini_hochberg_equals_scipy_and_leaves_out_what_was_not_tested():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.9, 0.001])
    tested = ~np.isnan(p)
    q = benjamini_hochberg(p)
    assert q[tested] == pytest.approx(stats.false_discovery_control(p[tested]))
    assert np.isnan(q[1])
    assert len(benjamini_hochberg(np.array([]))) == 0


def test_the_smallest_p_of_the_draws_is_shown_as_a_bound():
    assert shown_p(1 / 101, 100) == "≤ 0.0099"
    assert shown_p(2 / 101, 100) == "0.02"
    assert shown_p(2 / 501, 500, sides=2) == "≤ 0.004"
    assert shown_p(4 / 501, 500, sides=2) == "0.008"
    assert shown_p(0.25, None) == "0.25"
    assert shown_p(None, 100) == shown_p(np.nan, 0) == "-"
