"""Scales of activations and the spread of a neuron."""

from __future__ import annotations

import numpy as np
import pytest

from neuron_signatures.views.scale import MAP_PERCENTILE, NEURON_PERCENTILE, limit_of, relative, spread_of


def test_one_massive_value_does_not_set_the_limit_of_a_map_and_is_counted() -> None:
    cells = np.append(np.linspace(-2, 2, 999), 4000).astype(np.float32)
    limit = limit_of(cells, MAP_PERCENTILE)
    assert limit.value == pytest.approx(1.98, abs=0.01)
    assert limit.n_beyond == (np.abs(cells) > limit.value).sum() > 1


def test_the_largest_value_of_a_rarely_active_neuron_is_its_limit() -> None:
    values = np.array([0.207] * 243 + [8.19], np.float32)
    assert limit_of(values, NEURON_PERCENTILE) == (pytest.approx(8.19), NEURON_PERCENTILE, 0)


def test_values_that_are_not_finite_do_not_count() -> None:
    assert limit_of(np.array([np.nan, np.inf, -3.0]), 99).value == 3.0
    assert limit_of(np.array([np.nan]), 99) == (0.0, 99, 0)
    assert spread_of(np.array([np.nan], np.float32)) is None


def test_a_map_of_zeros_but_for_one_value_has_a_limit() -> None:
    assert limit_of(np.array([0.0] * 999 + [5.0]), MAP_PERCENTILE).value == 5.0


def test_a_dense_neuron_is_always_on_and_shown_by_its_distance_from_the_mean() -> None:
    values = np.array([-3.0, -2.5, -3.5, -3.0] * 5 + [-6.0], np.float32)
    spread = spread_of(values)
    assert spread is not None and spread.always_on == "-"
    assert "negative at 21 of 21 tokens" in spread.always_on_text()
    z = relative(values, spread)
    assert z[-1] == pytest.approx((-6 - values.mean(dtype=np.float64)) / values.std(dtype=np.float64))
    assert z[0] > 0 > z[-1]


@pytest.mark.parametrize("values", [[0.1] * 5, [1.0, -1.0] * 10, [0.001] * 30 + [9.0]])
def test_few_mixed_or_rare_activations_are_not_always_on(values: list[float]) -> None:
    spread = spread_of(np.array(values, np.float32))
    assert spread is not None and spread.always_on == "" and spread.always_on_text() == ""


def test_without_spread_there_is_no_relative_value() -> None:
    values = np.full(12, 2.0, np.float32)
    assert np.isnan(relative(values, spread_of(values))).all()
