"""Random sets of the same size: how they are drawn, and the sequential p-value."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from neuron_signatures.analysis.validation.best import best_sets, best_single
from neuron_signatures.analysis.validation.controls import control, layer_matched, takes_whole_layers
from neuron_signatures.analysis.validation.faithfulness import FLOAT32_NOISE, tolerance
from neuron_signatures.stats.stratified import Difference


def test_a_set_that_is_never_matched_takes_every_draw():
    found = control(5, 2.0, itertools.repeat(0.1), n_random=1000, tolerance=1e-6)
    assert (found.p, found.n_random, found.exceeded) == (1 / 1001, 1000, 0)
    found = control(5, 0.9, [0.1] * 97 + [0.9, 0.95, 0.2], n_random=100, tolerance=1e-6)
    assert (found.p, found.n_random, found.exceeded) == (3 / 101, 100, 2)


def test_drawing_stops_at_the_tenth_set_that_does_as_well():
    draws = iter([0.1, 0.9] * 500)
    found = control(5, 0.9, draws, n_random=1000, tolerance=1e-6)
    assert (found.p, found.n_random, found.exceeded) == (10 / 20, 20, 10)
    assert next(draws) == 0.1  # nothing more was taken
    assert control(5, 0.9, [0.1] * 90 + [0.9] * 10, n_random=100, tolerance=1e-6).p == 10 / 100


def test_p_values_of_sets_that_are_random_themselves_are_uniform():
    draw = np.random.default_rng(0)
    p = [
        control(5, float(draw.normal()), iter(draw.normal(size=1000).tolist()), n_random=1000, tolerance=0.0).p
        for _ in range(1000)
    ]
    for level in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(np.array(p) <= level) <= level + 3 * np.sqrt(level / 1000)
    assert np.mean(np.array(p) <= 0.5) > 0.4


def test_values_within_rounding_are_equal():
    assert control(5, 0.9, [0.9 - 1e-7] * 10, n_random=1000, tolerance=1e-6).p == 1
    assert control(5, 0.9, [0.9 - 1e-5] * 10, n_random=10, tolerance=1e-6).p == 1 / 11
    assert tolerance(empty=0.5, full=16.5) == pytest.approx(FLOAT32_NOISE * 16.5 / 16)


def test_the_distance_from_random_sets_in_their_spread():
    found = control(5, 0.9, [0.1, 0.3, 0.1, 0.3], n_random=4, tolerance=1e-6)
    assert (found.random_mean, found.random_std) == (pytest.approx(0.2), pytest.approx(0.1))
    assert found.z == pytest.approx(7)
    assert control(5, -0.1, [0.1, 0.3, 0.1, 0.3], n_random=4, tolerance=1e-6).z == pytest.approx(-3)
    assert control(5, 0.9, [0.2, 0.2 + 1e-8], n_random=2, tolerance=1e-6).z is None  # they do not vary


def members(*neurons: int) -> torch.Tensor:
    return torch.zeros(12, dtype=torch.bool).index_fill(0, torch.tensor(neurons), True).view(3, 4)


def test_a_set_of_whole_layers_is_its_own_only_control():
    assert takes_whole_layers(members(*range(4, 12)))
    assert not takes_whole_layers(members(0, *range(4, 12)))
    assert not takes_whole_layers(members(0, 1, 2))


def test_random_sets_have_as_many_neurons_of_each_layer():
    top = members(0, 1, 9)
    sets = list(itertools.islice(layer_matched(top, np.random.default_rng(0)), 50))
    assert all(s.sum(1).tolist() == [2, 0, 1] for s in sets)
    assert len({tuple(s.flatten().tolist()) for s in sets}) > 10
    again = itertools.islice(layer_matched(top, np.random.default_rng(0)), 50)
    assert all(torch.equal(a, b) for a, b in zip(sets, again, strict=True))


def test_random_sets_of_neurons_at_positions_are_matched_by_layer_alone():
    top = torch.zeros(2, 3, 4, dtype=torch.bool)
    top[0, 1, :3] = True
    sets = list(itertools.islice(layer_matched(top, np.random.default_rng(0)), 50))
    assert all(s.shape == top.shape and s.flatten(1).sum(1).tolist() == [3, 0] for s in sets)
    assert torch.stack(sets)[:, 0].any(0).all()  # at any position
    whole = torch.zeros_like(top)
    whole[1] = True
    assert takes_whole_layers(whole) and not takes_whole_layers(top)


def test_the_best_for_single_neurons_is_named_if_it_is_separated():
    ranked = [("act_grad", 0.9), ("dla", 0.4)]
    best = best_single(ranked, Difference(0.5, 0.4, 0.6))
    assert best.name == "act_grad" and "interval 0.4 to 0.6" in best.why
    tie = best_single(ranked, Difference(0.1, -0.01, 0.2))
    assert tie.name is None and "not separated" in tie.why
    assert best_single(ranked[:1], None).name is None and best_single([], None).name is None
    assert best_single(ranked, None).name is None


def test_the_best_for_sets_is_named_if_19_of_20_references_agree():
    cmd, beats = {"dla": 0.1, "relp": 0.2, "ig": 0.05}, {"dla": True, "relp": True, "ig": False}
    low, high = [0.1] * 20, [0.2] * 20
    assert best_sets(cmd, beats, {"dla": low, "relp": high, "ig": low}).name == "dla"
    mixed = {"dla": low, "relp": [*high[:18], 0.05, 0.05], "ig": low}
    assert best_sets(cmd, beats, mixed).name is None and "18 of 20" in best_sets(cmd, beats, mixed).why
    undefined = {"dla": low, "relp": [*high[:18], None, None], "ig": low}
    assert best_sets(cmd, beats, undefined).name is None
    without = best_sets(cmd, beats, {"dla": [], "relp": [], "ig": []})
    assert without.name is None and "no mean of prompts" in without.why
    assert best_sets(cmd, dict.fromkeys(cmd, False), {}).why == "no ranking beats random sets"
    only = best_sets(cmd, {"dla": False, "relp": True, "ig": False}, {})
    assert only.name == "relp" and only.why == "relp 0.200, the only one that beats random sets"
    assert best_sets({"dla": 0.1}, {"dla": True}, {"dla": low}).name is None
    assert best_sets({}, {}, {}).why == "no ranking has a value"
