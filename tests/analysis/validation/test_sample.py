"""Which neurons are ablated alone: the first of every ranking, and known shares of the others."""

from __future__ import annotations

import numpy as np
import pytest

from neuron_signatures.analysis.validation.sample import draw_sample
from neuron_signatures.runs.errors import UsageError

LAYER_OF = np.repeat(np.arange(5), 200)


def rankings(seed=0):
    draw = np.random.default_rng(seed)
    return [draw.standard_t(2, size=1000), draw.standard_t(2, size=1000)]


def test_a_sample_has_the_first_of_every_ranking_and_every_layer():
    scores = rankings()
    sample = draw_sample(scores, LAYER_OF, 160, np.random.default_rng(0))
    assert len(sample.rows) == len(set(sample.rows.tolist())) == 160
    assert (np.diff(sample.rows) > 0).all()
    first = {int(i) for s in scores for i in np.argsort(-abs(s))[:20]}  # 40 of 160 are the first
    assert first <= set(sample.rows.tolist())
    taken = np.bincount(sample.strata.of)
    assert taken[:2].tolist() == [40, 60] and sample.strata.sizes[:2].tolist() == [40, 96]
    assert (taken[2:] >= 2).all() and len(taken) == 7 and sample.strata.sizes.sum() == 1000
    assert sample.strata.weights.sum() == pytest.approx(1000)
    rest = sample.rows[sample.strata.of >= 2]
    assert (LAYER_OF[rest] == sample.strata.of[sample.strata.of >= 2] - 2).all()


def test_every_row_of_a_stratum_is_drawn_as_often():
    scores, times, weights = rankings(), np.zeros(1000), np.zeros(1000)
    for seed in range(600):
        sample = draw_sample(scores, LAYER_OF, 160, np.random.default_rng(seed))
        times[sample.rows] += 1
        weights[sample.rows] = sample.strata.weights
    expected = 600 / weights  # every row was drawn at least once
    assert (times > 0).all()
    assert abs((times - expected) / np.sqrt(expected)).max() < 5
    assert (times[weights == 1] == 600).all()


def test_the_seed_decides_and_without_rankings_layers_are_the_strata():
    draws = [draw_sample(rankings(), LAYER_OF, 100, np.random.default_rng(s)).rows.tolist() for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    plain = draw_sample([], LAYER_OF, 50, np.random.default_rng(0))
    assert np.bincount(LAYER_OF[plain.rows]).tolist() == [10] * 5


def test_a_sample_is_never_larger_than_a_stratum():
    for n in (60, 300, 900, 999):
        assert len(draw_sample(rankings(), LAYER_OF, n, np.random.default_rng(0)).rows) == n


def test_a_sample_without_two_draws_of_each_layer_is_refused():
    with pytest.raises(UsageError, match="Give at least 27, or all") as e:
        draw_sample(rankings(), LAYER_OF, 20, np.random.default_rng(0))
    assert "5 layers" in e.value.what
    draw_sample(rankings(), LAYER_OF, 27, np.random.default_rng(0))
