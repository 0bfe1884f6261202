"""Integrated gradients that are stopped go on where they were, and end with the same result."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from attribution_cases import TARGET_POS, loaded, problem_of, target_of
from tiny_models import D_MLP, N_LAYERS

from neuron_signatures.analysis.attribution.estimators import gradients
from neuron_signatures.analysis.attribution.estimators.gradients import Ig, IgPath, integrated_gradients
from neuron_signatures.runs.errors import StopSignal
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.results import ResultsWriter

FAR = torch.full((N_LAYERS, 1, D_MLP), 1.5)


class Steps:
    """Counts what a bar is told."""

    def __init__(self, unit: str, total: int) -> None:
        self.unit, self.total, self.done, self.skipped = unit, total, 0, 0

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: object) -> None: ...

    def advance(self, n: int) -> None:
        self.done += n

    def skip(self, n: int) -> None:
        self.skipped += n

    def extend(self, n: int) -> None:
        self.total += n

    def note(self, text: str) -> None: ...


def ig(partial: Partial | None, path: IgPath, bars: list[Steps]) -> Ig:
    def bar(unit: str, total: int) -> Steps:
        bars.append(Steps(unit, total))
        return bars[-1]

    problem = problem_of(loaded("llama").hf, target_of("llama"), [TARGET_POS])
    return integrated_gradients(
        problem, reference=FAR, steps=1, max_steps=81, batch=2, path=path, partial=partial, progress=bar
    )


@pytest.fixture
def writer(tmp_path):
    writer = ResultsWriter(tmp_path)
    writer.folder.mkdir()
    return writer


@pytest.mark.parametrize("path", ["joint", "layer"])
def test_a_stopped_ig_goes_on_and_gives_the_same_scores(writer, monkeypatch, caplog, path):
    caplog.set_level(logging.INFO, logger="neuron_signatures")
    bars: list[Steps] = []
    whole = ig(None, path, bars)
    n_points = sum(s.steps for s in whole.sums)
    assert max(s.steps for s in whole.sums) > 1  # it takes more steps, so a stop can come before and after
    assert bars[0].unit == "points" and bars[0].done == bars[0].total == n_points
    assert "the sum of the scores" in caplog.text and "taking 3" in caplog.text
    real, calls = gradients._gradient_sum, [0]

    def counted(*args):
        calls[0] += 1
        if calls[0] == stop_at:
            raise StopSignal
        return real(*args)

    monkeypatch.setattr(gradients, "_gradient_sum", counted)
    stop_at = 0
    ig(None, path, bars)
    n_calls = calls[0]
    for stops in range(1, n_calls + 1):
        calls[0], stop_at = 0, stops
        with pytest.raises(StopSignal):
            ig(Partial(writer, "x_partial.npz", {"steps": 1}), path, bars)
        stop_at = 0
        resumed = ig(Partial(writer, "x_partial.npz", {"steps": 1}), path, bars)
        assert calls[0] == n_calls + 1  # the call that was stopped, and no other, is repeated
        assert torch.equal(resumed.attribution.scores, whole.attribution.scores) and resumed.sums == whole.sums
        assert bars[-1].done + bars[-1].skipped == bars[-1].total == n_points
        (writer.folder / "x_partial.npz").unlink(missing_ok=True)


def test_impossible_numbers_of_points_are_not_used(writer, caplog):
    whole = ig(None, "joint", [])
    for points in (-1, 10**9):
        stored = Partial(writer, "x_partial.npz", {})
        stored.save_now({"gradients": np.ones((N_LAYERS, 1, D_MLP), np.float32), "points": np.array([points])})
        again = ig(stored, "joint", [])
        assert torch.equal(again.attribution.scores, whole.attribution.scores)
        assert "impossible numbers of points" in caplog.text
