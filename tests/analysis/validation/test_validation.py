"""The arithmetic of validation on numbers with an obvious answer, and its curves on a tiny real model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from attribution_cases import ablation
from tiny_models import D_MLP, N_LAYERS, tiny_model_dir

from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.validation import curves
from neuron_signatures.analysis.validation.controls import layer_matched
from neuron_signatures.analysis.validation.faithfulness import cmd, cpr, curve_sizes, is_scored, normalised
from neuron_signatures.analysis.validation.sample import Sample
from neuron_signatures.analysis.validation.sets import NeuronSets, ranking, smallest_size
from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.analysis.validation.truth import Truth, ValidationConfig, pair_scores, unit_scores
from neuron_signatures.analysis.validation.validate import Validation, validate
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.stats.stratified import Strata

IDS = [0, 300, 310, 320, 330]
CONFIG = ValidationConfig(sample=None, n_random=100, seed=0, signed=True, batch=64, min_effect=0.0)


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
    assert len(asked) < 150
    assert smallest_size([10, 200_000], [0.0, 1.0], lambda t: np.array([float(k >= 77_777) for k in t])) == 77_777


@pytest.fixture(scope="module")
def hf():
    from neuron_signatures.models.load import load_model
    from neuron_signatures.models.spec import ModelSpec

    return load_model(ModelSpec(str(tiny_model_dir("llama")), dtype="fp32", device="cpu")).hf


@pytest.fixture(scope="module")
def problem(hf) -> Problem:
    target = Target(pos=4, token_id=most_raised(hf, IDS), foil_id=None, function="pre_cap_logit", mode="next_token")
    return Problem(hf, IDS, target, (4,))


def validated(problem, attributions, effects, reference, config=CONFIG, **truth) -> Validation:
    options = {"resampled": None, "sample": None, **truth}
    values = options.pop("values", StoredValues())
    measured: list[int] = options.pop("measured", [])
    sets = NeuronSets(problem, effects.layers, batch=config.batch, values=values, advance=measured.append)
    return validate(attributions, Truth(effects, reference, **options), sets, config)


def zeros() -> torch.Tensor:
    return torch.zeros(1, 1, 1).expand(N_LAYERS, 1, D_MLP)


@pytest.fixture(scope="module")
def effects(problem) -> Attribution:
    return ablation(problem, reference=zeros(), layers=(0, 2))


def noise(effects: Attribution, seed: int = 0) -> Attribution:
    random = torch.randn(effects.scores.shape, generator=torch.Generator().manual_seed(seed))
    return replace(effects, metric="relp", scores=random)


def test_validation_of_the_true_effects_on_a_tiny_model(hf, problem, effects):
    found = validated(problem, [effects, noise(effects)], effects, zeros())
    truth, chance = found.metrics
    assert found.n_units == found.n_pairs == found.n_measured == 2 * D_MLP and not found.sampled
    assert truth.correlation.spearman.value == pytest.approx(1)
    assert abs(chance.correlation.spearman.value) < 0.3
    for m in found.metrics:
        assert m.faithfulness[-1] == pytest.approx(1, abs=1e-4)
        assert m.completeness[-1] == pytest.approx(0, abs=1e-4)
    assert truth.controls[0].p < 0.05 < chance.controls[0].p
    assert chance.controls[0].n_random < 100 == truth.controls[0].n_random  # it was decided early
    assert truth.smallest is not None and [c.k for c in truth.controls] == [2, truth.smallest]  # 1 % of 176 first
    assert found.n_sets > 200

    # m(M), m(empty) and one point of the curve against plain forward passes with hooks
    order = ranking(unit_scores(effects, effects), signed=True)
    k = truth.sizes[3]
    keep = torch.zeros(2, D_MLP, dtype=torch.bool).view(-1)
    keep[torch.from_numpy(order[:k].copy())] = True
    token_id = problem.target.token_id
    full, empty, some = (
        float(plain(hf, IDS, mask.view(2, D_MLP))[token_id]) for mask in (keep | True, keep & False, keep)
    )
    assert found.full == pytest.approx(full, rel=1e-4) and found.empty == pytest.approx(empty, rel=1e-4)
    assert truth.faithfulness[3] == pytest.approx((some - empty) / (full - empty), rel=1e-3)


def test_a_sample_estimates_the_agreement_over_all_neurons(problem, effects):
    score = replace(effects, metric="relp", scores=effects.scores + noise(effects).scores * effects.scores.std())
    full = validated(problem, [score], effects, zeros()).metrics[0].correlation
    rows = np.sort(np.random.default_rng(0).choice(2 * D_MLP, 60, replace=False))
    some = torch.full_like(effects.scores, torch.nan).view(-1)
    some[torch.from_numpy(rows)] = effects.scores.view(-1)[torch.from_numpy(rows)]
    sample = Sample(rows, Strata(np.zeros(60, np.int64), np.array([2 * D_MLP])))
    known = replace(effects, scores=some.view(effects.scores.shape))
    found = validated(problem, [score], known, zeros(), sample=sample)
    assert found.sampled and (found.n_measured, found.n_pairs) == (60, 2 * D_MLP)
    for estimate, exact in zip(found.metrics[0].correlation, full, strict=True):
        assert estimate.low < exact.value < estimate.high and exact.low is None


def test_single_effects_are_compared_at_every_position():
    acts = torch.ones(2, 2, 3)
    effects = Attribution("ablation", (0, 1), (3, 4), torch.arange(12.0).view(2, 2, 3), acts, None)
    last = Attribution("dla", (0, 1, 2), (4,), torch.arange(9.0).view(3, 1, 3), torch.ones(3, 1, 3), None)
    assert pair_scores(last, effects).tolist() == [0, 0, 0, 0, 1, 2, 0, 0, 0, 3, 4, 5]
    assert unit_scores(last, effects).tolist() == [0, 1, 2, 3, 4, 5]
    assert unit_scores(effects, effects).tolist() == [3, 5, 7, 15, 17, 19]


def test_cmd_spreads_over_resampled_references_that_scores_and_ablations_share(problem, effects):
    grad = effects.scores / torch.where(effects.acts == 0, 1.0, effects.acts)
    score = replace(effects, metric="relp", per_act=grad)
    resampled = 0.05 * torch.randn(4, N_LAYERS, 1, D_MLP, generator=torch.Generator().manual_seed(1))
    found = validated(problem, [score, effects], effects, zeros(), resampled=resampled)
    relp, truth = found.metrics
    assert len(relp.cmd_draws) == 4 and relp.cmd_spread == pytest.approx(np.std(relp.cmd_draws, ddof=1))
    assert truth.cmd_draws == () and truth.cmd_spread is None  # ablation takes no part

    centred = (effects.acts - resampled[2][[0, 2]]) * grad
    again = replace(score, scores=centred)
    alone = validated(problem, [again], effects, resampled[2])
    assert relp.cmd_draws[2] == pytest.approx(alone.metrics[0].cmd, abs=1e-5)
    none = validated(problem, [score], effects, zeros())
    assert none.metrics[0].cmd_draws == () and none.metrics[0].cmd_spread is None


def test_a_stopped_validation_measures_only_what_is_left(problem, effects, tmp_path):
    whole = validated(problem, [effects, noise(effects)], effects, zeros())
    writer = ResultsWriter(tmp_path)
    writer.folder.mkdir()

    def partial() -> Partial:
        return Partial(writer, "x_partial.npz", {})

    values = StoredValues(partial())
    measured: list[int] = []

    class Stop(Exception):
        pass

    def stop_after_300(n: int) -> None:
        measured.append(n)
        if sum(measured) > 300:
            raise Stop

    sets = NeuronSets(problem, effects.layers, batch=16, values=values, advance=stop_after_300)
    with pytest.raises(Stop), (stored := partial()).save_on_error(values.arrays):
        validate([effects, noise(effects)], Truth(effects, zeros(), None, None), sets, replace(CONFIG, batch=16))
    left: list[int] = []
    again = validated(
        problem, [effects, noise(effects)], effects, zeros(), replace(CONFIG, batch=16),
        values=StoredValues(stored), measured=left,
    )  # fmt: skip
    for a, b in zip(again.metrics, whole.metrics, strict=True):
        assert a.faithfulness == pytest.approx(b.faithfulness, abs=1e-4)
        assert [c.n_random for c in a.controls] == [c.n_random for c in b.controls]
        assert [c.random_mean for c in a.controls] == pytest.approx([c.random_mean for c in b.controls], abs=1e-4)
    every: list[int] = []
    validated(problem, [effects, noise(effects)], effects, zeros(), replace(CONFIG, batch=16), measured=every)
    assert sum(left) + sum(measured) == sum(every)


def test_a_smallest_set_of_the_whole_layer_is_as_good_as_its_controls(problem, monkeypatch):
    as_it_is = ablation(problem, reference=zeros()).acts
    reference = as_it_is.clone()
    reference[2, 0, 7] += 5  # one neuron matters, and is ranked last
    effects = ablation(problem, reference=reference, layers=(2,))
    scores = torch.arange(D_MLP, 0, -1.0).view(1, 1, -1).clone()
    scores[0, 0, 7] = 0
    last = Attribution("relp", (2,), (4,), scores, effects.acts, None)
    drawn = []
    monkeypatch.setattr(
        curves, "layer_matched", lambda top, rng: drawn.append(int(top.sum())) or layer_matched(top, rng)
    )
    (metric,) = validated(problem, [last], effects, reference, replace(CONFIG, batch=7)).metrics
    assert metric.smallest == D_MLP
    assert metric.controls[-1].k == D_MLP and metric.controls[-1].p == 1
    assert drawn == [1]  # the set itself is not measured again: rounding would decide


def test_a_ranking_with_undefined_scores_builds_no_sets(problem, effects):
    scores = effects.scores.clone()
    scores.view(-1)[5:] = float("nan")
    some = replace(effects, scores=scores)
    whole = replace(effects, metric="relp")
    found = validated(problem, [whole, some], some, zeros())
    assert [m.metric for m in found.metrics] == ["relp"] and found.left_out == ("ablation",)
    assert (found.n_measured, found.n_units) == (5, 2 * D_MLP)


def test_without_enough_effect_only_single_neurons_are_compared(problem, effects):
    found = validated(problem, [effects], effects, zeros(), replace(CONFIG, min_effect=1000.0))
    assert not found.scored and found.full > found.empty
    (metric,) = found.metrics
    assert metric.correlation.spearman.value == pytest.approx(1)
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
