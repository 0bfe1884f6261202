"""Pearson and Spearman on samples whose answer is visible, and where they are undefined."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from neuron_signatures.stats.correlation import pearson, spearman


def test_a_line_and_a_monotone_curve() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert pearson(x, -2 * x + 1) == pytest.approx(-1)
    assert spearman(x, np.exp(x)) == pytest.approx(1) and pearson(x, np.exp(x)) < 0.95


def test_ties_have_average_ranks() -> None:
    x, y = np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0, 4.0])
    assert spearman(x, y) == pytest.approx(pearson(np.array([1, 2.5, 2.5, 4]), y))


@pytest.mark.parametrize("x", [[], [1.0], [0.1, 0.1, 0.1]])
def test_undefined(x: list[float]) -> None:
    a, b = np.array(x), np.arange(len(x), dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pearson(a, b) is pearson(b, a) is spearman(a, b) is None
