"""The arithmetic of validation on numbers with an obvious answer, and its curves on a tiny real model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from attribution_cases import ablation
from tiny_models import D_MLP, N_LAYERS, tiny_model_dir

from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.validation import validate as validation
from neuron_signatures.analysis.validation.faithfulness import (
    FLOAT32_NOISE,
    cmd,
    control,
    correlate,
    cpr,
    curve_sizes,
    is_scored,
    layer_matched,
    normalised,
    takes_whole_layers,
    tolerance,
)
from neuron_signatures.analysis.validation.validate import (
    ValidationConfig,
    ranking,
    smallest_size,
    unit_scores,
    validate,
)


def test_correlations_of_known_numbers():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert correlate(x, 2 * x + 1) == (pytest.approx(1), pytest.approx(1), 4)
    assert correlate(x, -(x**3)).spearman == pytest.approx(-1)
    assert correlate(x, -(x**3)).pearson > -1
    assert correlate(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])).spearman == pytest.approx(math.sqrt(3) / 2)
    assert correlate(np.ones(4), x)[:2] == (None, None)
    assert correlate(np.array([np.nan, 1.0, 2.0]), np.array([5.0, 1.0, 2.0])) == (1, 1, 2)
    assert correlate(np.array([1.0]), np.array([1.0]))[:2] == (None, None)


def test_curve_sizes_are_the_shares_rounded_up():
    assert curve_sizes(1000) == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    assert curve_sizes(3) == [1, 2, 3]
    assert curve_sizes(1) == [1]


def test_areas_of_known_curves():
    assert cpr([5, 10], [1.0, 1.0], 10) == pytest.approx(0.75)  # rises to 1 at half, stays
    assert cmd([5, 10], [1.0, 1.0], 10) == pytest.approx(0.25)
    assert cpr([10], [1.0], 10) == pytest.approx(0.5)
    assert cmd([5, 10], [2.0, 1.0], 10) == pytest.approx(0.25 * 2 + 0.25)


def test_normalised_is_0_at_nothing_and_1_at_everything():
    assert normalised([2.0, 6.0, 4.0], empty=2.0, full=6.0).tolist() == [0, 1, 0.5]


@pytest.mark.parametrize(("empty", "full", "scored"), [(2.0, 3.5, True), (2.0, 3.0, True), (2.0, 2.9, False),
                                                       (16.7, 15.4, False), (2.0, 2.0, False)])  # fmt: skip
def test_sets_are_scored_if_ablating_everything_lowers_the_function_enough(empty, full, scored):
    assert is_scored(empty=empty, full=full, min_effect=1.0) == scored


def test_a_difference_by_rounding_is_never_scored():
    assert not is_scored(empty=16.0, full=16.0 + 2e-6, min_effect=0.0)
    assert is_scored(empty=16.0, full=16.01, min_effect=0.0)


def test_p_counts_random_sets_that_do_as_well():
    found = control(5, 0.9, [0.1] * 97 + [0.9, 0.95, 0.2], tolerance=1e-6)
    assert (found.p, found.n_random) == (3 / 101, 100)
    assert control(5, 2.0, [0.1] * 1000, tolerance=1e-6).p == 1 / 1001
    # values that differ by less than rounding are equal
    assert control(5, 0.9, [0.9 - 1e-7] * 10, tolerance=1e-6).p == 1
    assert control(5, 0.9, [0.9 - 1e-5] * 10, tolerance=1e-6).p == 1 / 11
    assert tolerance(empty=0.5, full=16.5) == pytest.approx(FLOAT32_NOISE * 16.5 / 16)


def test_the_distance_from_random_sets_in_their_spread():
    found = control(5, 0.9, [0.1, 0.3, 0.1, 0.3], tolerance=1e-6)
    assert (found.random_mean, found.random_std) == (pytest.approx(0.2), pytest.approx(0.1))
    assert found.z == pytest.approx(7)
    assert control(5, -0.1, [0.1, 0.3, 0.1, 0.3], tolerance=1e-6).z == pytest.approx(-3)
    assert control(5, 0.9, [0.2, 0.2 + 1e-8], tolerance=1e-6).z is None  # they do not vary


def test_a_set_of_whole_layers_is_its_own_only_control():
    layer_of = np.repeat([0, 1, 2], 4)
    assert takes_whole_layers(np.arange(4, 12), layer_of)
    assert not takes_whole_layers(np.array([0, *range(4, 12)]), layer_of)
    assert not takes_whole_layers(np.arange(3), layer_of)


def test_random_sets_have_as_many_units_of_each_layer():
    layer_of = np.repeat([0, 1, 2], 10)
    sets = layer_matched(np.array([0, 1, 25]), layer_of, 50, np.random.default_rng(0))
    assert all(sorted(layer_of[s]) == [0, 0, 2] and len(set(s.tolist())) == 3 for s in sets)
    assert len({tuple(sorted(s.tolist())) for s in sets}) > 10
    again = layer_matched(np.array([0, 1, 25]), layer_of, 50, np.random.default_rng(0))
    assert all((a == b).all() for a, b in zip(sets, again, strict=True))


def test_rankings_and_the_smallest_set():
    scores = np.array([0.5, -2.0, np.nan, 0.5, 1.0])
    assert ranking(scores, signed=False).tolist() == [1, 4, 0, 3, 2]
    assert ranking(scores, signed=True).tolist() == [4, 0, 3, 1, 2]

    def share(tops):
        return np.array([k / 100 for k in tops])

    sizes = [1, 10, 50, 100]
    assert smallest_size(sizes, share(sizes).tolist(), share) == 80
    assert smallest_size(sizes, [0.1, 0.2, 0.3, 0.4], share) is None
    assert smallest_size([1, 10], [0.9, 1.0], share) == 1


@pytest.mark.parametrize("least", [514, 593, 768, 1023, 1280])
def test_the_smallest_set_is_exact_between_points_that_are_far_apart(least):
    asked = []

    def share(tops):
        asked.extend(tops)
        return np.array([1.0 if k >= least else 0.0 for k in tops])

    assert smallest_size([256, 512, 1280], [0.0, 0.0, 1.0], share) == least
    assert len(asked) < 300
    assert smallest_size([10, 200_000], [0.0, 1.0], lambda t: np.array([float(k >= 77_777) for k in t])) == 77_777


@pytest.fixture(scope="module")
def hf():
    from neuron_signatures.models.load import load_model
    from neuron_signatures.models.spec import ModelSpec

    return load_model(ModelSpec(str(tiny_model_dir("llama")), dtype="fp32", device="cpu")).hf


def test_validation_of_the_true_effects_on_a_tiny_model(hf):
    ids = [0, 300, 310, 320, 330]
    token_id = most_raised(hf, ids)
    target = Target(pos=4, token_id=token_id, foil_id=None, function="pre_cap_logit", mode="next_token")
    reference = torch.zeros(1, 1, 1).expand(N_LAYERS, 1, D_MLP)
    effects = ablation(Problem(hf, ids, target, (4,)), reference=reference, layers=(0, 2))
    noise = torch.randn(effects.scores.shape, generator=torch.Generator().manual_seed(0))
    random = Attribution("relp", (0, 2), (4,), noise, effects.acts, None)
    config = ValidationConfig(n_random=100, seed=0, signed=True, batch=64, min_effect=0.0)
    found = validate(Problem(hf, ids, target, (4,)), [effects, random], effects, reference=reference, config=config)
    truth, chance = found.metrics
    assert found.n_units == 2 * D_MLP
    assert truth.correlation.spearman == pytest.approx(1)
    assert abs(chance.correlation.spearman) < 0.3
    for m in found.metrics:
        assert m.faithfulness[-1] == pytest.approx(1, abs=1e-4)
        assert m.completeness[-1] == pytest.approx(0, abs=1e-4)
    assert truth.controls[0].p < 0.05 < chance.controls[0].p

    # m(M), m(empty) and one point of the curve against plain forward passes with hooks
    order = ranking(unit_scores(effects, (0, 2), (4,)), signed=True)
    k = truth.sizes[3]
    keep = torch.zeros(2, D_MLP, dtype=torch.bool).view(-1)
    keep[torch.from_numpy(order[:k].copy())] = True
    full, empty, some = (
        float(plain(hf, ids, mask.view(2, D_MLP))[token_id]) for mask in (keep | True, keep & False, keep)
    )
    assert found.full == pytest.approx(full, rel=1e-4) and found.empty == pytest.approx(empty, rel=1e-4)
    assert truth.faithfulness[3] == pytest.approx((some - empty) / (full - empty), rel=1e-3)


def test_a_smallest_set_of_the_whole_layer_is_as_good_as_its_controls(hf, monkeypatch):
    ids = [0, 300, 310, 320, 330]
    target = Target(pos=4, token_id=most_raised(hf, ids), foil_id=None, function="pre_cap_logit", mode="next_token")
    as_it_is = ablation(Problem(hf, ids, target, (4,)), reference=torch.zeros(1, 1, 1).expand(N_LAYERS, 1, D_MLP)).acts
    reference = as_it_is.clone()
    reference[2, 0, 7] += 5  # one neuron matters, and is ranked last
    effects = ablation(Problem(hf, ids, target, (4,)), reference=reference, layers=(2,))
    scores = torch.arange(D_MLP, 0, -1.0).view(1, 1, -1).clone()
    scores[0, 0, 7] = 0
    last = Attribution("relp", (2,), (4,), scores, effects.acts, None)
    config = ValidationConfig(n_random=100, seed=0, signed=True, batch=7, min_effect=0.0)
    drawn = []
    monkeypatch.setattr(validation, "layer_matched", lambda top, *a: drawn.append(len(top)) or layer_matched(top, *a))
    (metric,) = validate(Problem(hf, ids, target, (4,)), [last], effects, reference=reference, config=config).metrics
    assert metric.smallest == D_MLP
    assert metric.controls[-1].k == D_MLP and metric.controls[-1].p == 1
    assert drawn == [1]  # the set itself is not measured again: rounding would decide


def test_a_ranking_with_undefined_scores_builds_no_sets(hf):
    ids = [0, 300, 310, 320, 330]
    target = Target(pos=4, token_id=most_raised(hf, ids), foil_id=None, function="pre_cap_logit", mode="next_token")
    reference = torch.zeros(1, 1, 1).expand(N_LAYERS, 1, D_MLP)
    effects = ablation(Problem(hf, ids, target, (4,)), reference=reference, layers=(0, 2))
    scores = effects.scores.clone()
    scores.view(-1)[5:] = float("nan")
    some = Attribution("ablation", (0, 2), (4,), scores, effects.acts, None)
    whole = Attribution("relp", (0, 2), (4,), effects.scores, effects.acts, None)
    config = ValidationConfig(n_random=100, seed=0, signed=True, batch=64, min_effect=0.0)
    found = validate(Problem(hf, ids, target, (4,)), [whole, some], some, reference=reference, config=config)
    assert [m.metric for m in found.metrics] == ["relp"] and found.left_out == ("ablation",)
    assert (found.n_measured, found.n_units, found.metrics[0].correlation.n) == (5, 2 * D_MLP, 5)


def test_without_enough_effect_only_single_neurons_are_compared(hf):
    ids = [0, 300, 310, 320, 330]
    target = Target(pos=4, token_id=most_raised(hf, ids), foil_id=None, function="pre_cap_logit", mode="next_token")
    zeros = torch.zeros(1, 1, 1).expand(N_LAYERS, 1, D_MLP)
    effects = ablation(Problem(hf, ids, target, (4,)), reference=zeros, layers=(0, 2))
    config = ValidationConfig(n_random=100, seed=0, signed=True, batch=64, min_effect=1000.0)
    found = validate(Problem(hf, ids, target, (4,)), [effects], effects, reference=zeros, config=config)
    assert not found.scored and found.full > found.empty
    (metric,) = found.metrics
    assert metric.correlation.spearman == pytest.approx(1)
    assert (metric.cpr, metric.cmd, metric.smallest) == (None, None, None)
    assert metric.sizes == metric.faithfulness == metric.completeness == metric.controls == ()


def most_raised(hf, ids) -> int:
    """The token whose logit the neurons of layers 0 and 2 raise most."""
    everything = torch.ones(2, D_MLP, dtype=torch.bool)
    return int((plain(hf, ids, everything) - plain(hf, ids, ~everything)).argmax())


def plain(hf, ids, keep) -> torch.Tensor:
    """Logits at the last position from a plain forward pass with the other neurons of layers 0 and 2 set to 0."""
    from neuron_signatures.models.capture import output_projections

    projections = output_projections(hf)
    handles = []
    for row, layer in enumerate((0, 2)):

        def hook(_, args, row=row):
            acts = args[0].clone()
            acts[:, 4] = torch.where(keep[row], acts[:, 4], torch.zeros(()))
            return (acts,)

        handles.append(projections[layer].register_forward_pre_hook(hook))
    try:
        with torch.no_grad():
            return hf(torch.tensor([ids])).logits[0, 4]
    finally:
        for handle in handles:
            handle.remove()
