"""Variance between labels, changes that depend on the prompt, and neurons that follow a property."""

from __future__ import annotations

import numpy as np
import pytest

from neuron_signatures.circuits.groups.follow import follow, neurons_at
from neuron_signatures.circuits.groups.variance import between_labels, change_share
from neuron_signatures.runs.circuits.graph import Node

STATES = [state for state in ("Texas", "Ohio", "Utah", "Iowa", "Maine") for _ in range(4)]


def made(seed: int = 0) -> np.ndarray:
    """Neuron 0 is a function of the state with little noise, 1 is noise, 2 is constant, 3 is of Texas only."""
    random = np.random.default_rng(seed)
    by_state = np.repeat(random.normal(size=5), 4)
    return np.stack([
        by_state + 0.05 * random.normal(size=20), random.normal(size=20), np.full(20, 3.0),
        (np.array(STATES) == "Texas") * 2.0 + 0.01 * random.normal(size=20),
    ])  # fmt: skip


def test_the_share_between_labels_is_eta_squared():
    values = made()
    found = between_labels(values, STATES, seed=0, n_draws=500)
    groups = values.reshape(4, 5, 4)
    between = ((groups.mean(2) - values.mean(1, keepdims=True)) ** 2).sum(1) * 4
    expected = between[[0, 1, 3]] / ((values - values.mean(1, keepdims=True)) ** 2).sum(1)[[0, 1, 3]]
    assert found.share[[0, 1, 3]] == pytest.approx(expected) and np.isnan(found.share[2]) and np.isnan(found.p[2])
    # of random labels, the expectation is (labels - 1) / (prompts - 1)
    assert found.null_mean[[0, 1]] == pytest.approx([4 / 19, 4 / 19], abs=0.03)
    assert found.p[0] == 1 / 501 and found.p[1] > 0.05 and (found.null_sd[[0, 1]] > 0).all()


def test_labels_that_can_tell_nothing_give_none():
    values = made()
    assert between_labels(values, [str(i) for i in range(20)], seed=0, n_draws=5) is None
    assert between_labels(values, ["same"] * 20, seed=0, n_draws=5) is None


def test_the_share_of_a_change_that_depends_on_the_prompt():
    changes = np.array([[2.0, 2, 2, 2], [1, -1, 1, -1], [0, 0, 0, 0], [3, 1, 3, 1]])
    found = change_share(changes, list("abcd"), seed=0, n_draws=200)
    assert found.share[[0, 1, 3]] == pytest.approx([0, 1, 1 - 4 / 5]) and np.isnan(found.share[2])
    assert found.low[0] == found.high[0] == 0 and found.low[3] <= 0.2 <= found.high[3]
    assert np.isnan(change_share(changes, ["a"] * 4, seed=0, n_draws=5).low).all()


def test_neurons_that_follow_the_state_are_found():
    nodes = [Node(f"0_{i}_4", "neuron", 0, 4, i) for i in range(4)]
    found = {f.node.neuron: f for f in follow(nodes, {0: made()}, STATES, "Texas", n_draws=200)}
    assert {i for i, f in found.items() if f.does} == {0, 3} and 2 not in found
    assert found[3].own == pytest.approx(2, abs=0.05) and found[3].others == pytest.approx(0, abs=0.05)
    assert found[3].z > 50 and found[3].layer_z_share == 0.25 and found[0].layer_share <= 0.5
    assert found[1].q > 0.05 and abs(found[1].z) < 3


def test_a_value_without_other_prompts_has_no_contrast():
    nodes = [Node("0_0_4", "neuron", 0, 4, 0)]
    (found,) = follow(nodes, {0: made()}, STATES, "Nevada", n_draws=50)
    assert found.own is None and found.z is None and found.does
    assert follow([], {}, STATES, "Texas") == [] and follow(nodes, {0: made()}, ["x"] * 20, "x") == []


def test_neurons_at_a_position_are_no_embeddings():
    from planted_circuits import planted

    assert {(n.kind, n.pos) for n in neurons_at(planted(alike=0.5).graph, 4)} == {("neuron", 4)}
