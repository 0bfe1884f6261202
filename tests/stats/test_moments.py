"""Mean and standard deviation that merge: against numpy, in any split, far from zero, with empty parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_signatures.stats.moments import EMPTY, Moments, moments, moments_from_sums


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 6), min_size=1, max_size=5),
    st.sampled_from([0.0, -1e3, 1e6]),
    st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_merged_parts_equal_the_whole(seed: int, lengths: list[int], centre: float, spread: float) -> None:
    values = centre + spread * np.random.default_rng(seed).normal(size=(sum(lengths), 3))
    found = EMPTY
    for part in np.split(values, np.cumsum(lengths)[:-1]):
        found = found.merge(moments(part))
    mean, std = found.mean_std()
    if not sum(lengths):
        assert np.isnan(mean).all() and np.isnan(std).all()
        return
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-12, atol=1e-12 * spread)
    np.testing.assert_allclose(std, values.std(axis=0), rtol=1e-6, atol=1e-6 * spread)


def test_a_small_spread_about_a_large_mean_keeps_its_digits() -> None:
    values = (1e4 + np.array([0, 1, 2, 1, 0, 2, 1, 1]) / 512).astype(np.float32)
    whole = moments(values).mean_std()
    parts = moments(values[:3]).merge(moments(values[3:])).mean_std()
    expected = values.astype(np.float64)
    for found in (whole, parts):
        assert found.mean == pytest.approx(expected.mean(), rel=1e-15)
        assert found.std == pytest.approx(expected.std(), rel=1e-9)


def test_only_selected_values_count() -> None:
    values = np.array([[1, np.nan, 5], [3, np.inf, 7], [np.nan, -np.inf, 9]], dtype=np.float32)
    found = moments(values, where=np.isfinite(values))
    mean, std = found.mean_std()
    assert np.asarray(found.n).tolist() == [2, 0, 3]
    np.testing.assert_array_equal(mean, [2, np.nan, 7])
    np.testing.assert_array_equal(std, [1, np.nan, np.sqrt(8 / 3)])


def test_moments_of_known_size_mean_and_std_merge() -> None:
    found = EMPTY.merge(EMPTY).merge(Moments(2, 1.0, 2 * 1.0**2)).merge(Moments(1, 4.0, 0.0))
    assert found.n == 3 and found.mean_std() == pytest.approx((2.0, np.std([0, 2, 4])))


def test_sums_about_a_shift() -> None:
    values = np.array([3.0, 5.0, 10.0])
    found = moments_from_sums(3, (values - 4).sum(), ((values - 4) ** 2).sum(), shift=4.0)
    assert found.mean_std() == pytest.approx((values.mean(), values.std()))
