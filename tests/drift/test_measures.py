"""Measures of one neuron on hand-made activations, against numpy and sets."""

from __future__ import annotations

import numpy as np
import pytest

from neuron_signatures.drift.measures import (
    differences_of_halves,
    jaccard,
    pearson,
    profile,
    random_halves,
    strongest_tokens,
)


def make(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def test_pearson_is_numpys():
    a, b = make(50, 9, 0) + 100, make(50, 9, 1)
    wanted = [np.corrcoef(a[:, i].astype(float), b[:, i].astype(float))[0, 1] for i in range(9)]
    assert pearson(a, b) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 1e15])
def test_pearson_of_equal_activations_is_exactly_one(scale):
    a = make(37, 200, 2) * np.float32(scale)
    assert (pearson(a, a.copy()) == 1).all()


def test_pearson_of_a_constant_is_undefined():
    a = np.full((20, 2), 0.1, np.float32)
    a[:, 1] = make(20, 1)[:, 0]
    assert np.isnan(pearson(a, a)).tolist() == [True, False]


def test_the_strongest_tokens_are_those_of_the_largest_size_and_ties_go_to_the_earlier():
    a = np.array([[1, 0], [-3, 0], [2, 5], [-2, 0], [2, 0]], np.float32)
    found = strongest_tokens(a, 3)
    assert set(found[:, 0]) == {1, 2, 3}
    assert sorted(found[:, 1]) == [-1, -1, 2]
    assert set(strongest_tokens(a, 5)[:, 0]) == set(range(5))


def test_jaccard_is_that_of_sets():
    a, b = make(40, 30, 0), make(40, 30, 1)
    top = [strongest_tokens(x, 7) for x in (a, b)]
    for i, value in enumerate(jaccard(*top)):
        x, y = (set(np.argsort(-np.abs(acts[:, i]))[:7]) for acts in (a, b))
        assert value == len(x & y) / len(x | y)
    assert (jaccard(top[0], top[0].copy()) == 1).all()


def test_jaccard_of_silent_neurons_is_undefined_and_of_one_silent_neuron_zero():
    silent, other = np.array([[-1, -1], [-1, -1]]), np.array([[-1, 0], [-1, 3]])
    found = jaccard(silent, other)
    assert np.isnan(found[0]) and found[1] == 0


def test_a_profile():
    a = np.array([[1.0, 2], [-1, 2], [3, 2], [-3, 2]], np.float32)
    found = profile(a, k=1, fires_above=0.0)
    assert found.mean.tolist() == [0, 2] and found.std == pytest.approx([np.sqrt(5), 0])
    assert found.rate.tolist() == [0.5, 1] and found.constant.tolist() == [False, True]
    assert profile(a, k=1, fires_above=2.0).rate.tolist() == [0.25, 0]


def test_differences_of_halves_are_those_of_the_tokens():
    a, starts = make(30, 4) + 3, np.array([0, 4, 5, 12, 20, 26])
    halves = random_halves(6, 11, np.random.default_rng(0))
    prompt = np.repeat(np.arange(6), np.diff([*starts, 30]))
    found = differences_of_halves(a, starts, halves, fires_above=3.0)
    x = a.astype(float)
    for name, of in (("mean", lambda v: v.mean(0)), ("std", lambda v: v.std(0)), ("rate", lambda v: (v > 3).mean(0))):
        away = [of(x[half[prompt]]) - of(x[~half[prompt]]) for half in halves]
        assert getattr(found, name) == pytest.approx(np.sqrt(np.mean(np.square(away), axis=0)), rel=1e-6)


def test_halves_have_half_of_the_prompts_and_need_four():
    assert (random_halves(9, 50, np.random.default_rng(0)).sum(1) == 4).all()
    halves = random_halves(3, 5, np.random.default_rng(0))
    assert np.isnan(differences_of_halves(make(9, 2), np.array([0, 3, 6]), halves, fires_above=0.0).mean).all()
