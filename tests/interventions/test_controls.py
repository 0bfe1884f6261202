"""A null distribution against values whose answer is visible."""

from __future__ import annotations

import math

import pytest
from attribution_cases import loaded, problem_of, target_of
from intervention_cases import random_changes

from neuron_signatures.interventions.controls.nulls import Outcome, null, outcomes
from neuron_signatures.interventions.copies import Copies


def drawn(*effects: float, flipped: bool = False) -> list[Outcome]:
    return [Outcome(float(e), flipped) for e in effects]


def test_p_counts_the_control_edits_that_do_as_well():
    found = null("w", 2.0, drawn(1, 2, 3, -5), n=10, two_sided=False, sequential=False)
    assert (found.n, found.exceeded, found.p) == (4, 2, (1 + 2) / (1 + 4))
    assert (found.mean, found.most) == (0.25, 3)
    assert found.std == pytest.approx(math.sqrt(9.75 - 0.0625))
    assert found.z == pytest.approx((2 - 0.25) / found.std)
    assert found.low == pytest.approx(-5 + 0.15 * 6) and found.high == pytest.approx(3 - 0.15)
    assert found.n_flipped == 0


def test_two_sided_compares_absolute_effects():
    found = null("w", -2.0, drawn(1, 2, 3, -5), n=10, two_sided=True, sequential=False)
    assert (found.exceeded, found.p, found.most) == (3, 4 / 5, -5)
    one_sided = null("w", -2.0, drawn(1, 2, 3, -5), n=10, two_sided=False, sequential=False)
    assert one_sided.exceeded == 3  # 1, 2 and 3 are larger than -2


def test_the_smallest_p_is_one_over_all_draws_and_rounding_does_not_count():
    effects = [0.0] * 999 + [2.0 - 1e-6]
    found = null("w", 2.0, drawn(*effects), n=1000, two_sided=False, sequential=False)
    assert found.p == 2 / 1001
    assert null("w", 2.1, drawn(*effects), n=1000, two_sided=False, sequential=False).p == 1 / 1001


def test_only_n_control_edits_are_taken():
    source = iter(drawn(*range(100)))
    found = null("w", 50.0, source, n=20, two_sided=False, sequential=False)
    assert (found.n, found.p) == (20, 1 / 21)
    assert next(source).effect == 20


def test_a_sequential_null_stops_when_ten_do_as_well():
    """Besag and Clifford 1991: p = 10 / drawn."""
    source = iter(drawn(*([0, 5] * 100)))
    found = null("w", 1.0, source, n=1000, two_sided=False, sequential=True)
    assert (found.n, found.exceeded, found.p) == (20, 10, 0.5)
    all_as_well = null("w", 1.0, drawn(*[5] * 50), n=1000, two_sided=False, sequential=True)
    assert (all_as_well.n, all_as_well.p) == (10, 1.0)
    never = null("w", 9.0, drawn(*([0, 5] * 100)), n=150, two_sided=False, sequential=True)
    assert (never.n, never.exceeded, never.p) == (150, 0, 1 / 151)


def test_flips_are_counted_and_a_constant_has_no_z():
    found = null("w", 1.0, [Outcome(0.5, True), Outcome(0.5, False)], n=5, two_sided=False, sequential=False)
    assert found.n_flipped == 1 and found.z is None and found.std == 0


def test_without_control_edits_nothing_is_known():
    found = null("w", 1.0, [], n=5, two_sided=False, sequential=False)
    assert (found.n, found.p, found.mean, found.z) == (0, None, None, None)


def test_outcomes_are_effects_and_whether_the_most_likely_token_changes():
    """The target is the most likely token of the clean prompt, so a flip is that it no longer is."""
    problem = problem_of(loaded("gpt2").hf, target_of("gpt2"), (2, 8))
    copies = Copies(problem, first=2, batch=3)
    sets = [random_changes(problem.hf, (2, 8), n, n) for n in (1, 5, 40, 200)]
    found = list(outcomes(copies.run(sets), copies.problem.target.token_id))
    passes = list(Copies(problem, first=2, batch=3).run(sets))
    tops = [top for _, edited in passes for top in edited.top_id.tolist()]
    assert [o.flipped for o in found] == [top != problem.target.token_id for top in tops]
    assert len({o.flipped for o in found}) == 2
    assert [o.effect for o in found] == pytest.approx(list(Copies(problem, first=2, batch=9).effects(sets)), abs=1e-4)
