"""Forecasts of how long the steps of the map take."""

from __future__ import annotations

import time

import pytest

from neuron_signatures.dashboard.map.forecast import forecast, rounded, timed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (8.2, "8 s"), (24.0, "20 s"), (89.0, "90 s"), (90.0, "2 min"), (700.0, "10 min")],
)
def test_forecasts_have_one_digit(seconds, text):
    assert rounded(seconds) == text


def test_the_last_run_of_a_step_corrects_its_forecast(monkeypatch):
    assert forecast("t-SNE", 5000) == ", about 50 s" and forecast("k-means", 100) == ""
    now = iter([10.0, 10.0 + 470.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    with timed("t-SNE", 5000):
        pass
    assert forecast("t-SNE", 5000) == ", about 8 min" and forecast("HDBSCAN", 5000) == ", about 6 s"
