"""What a series of doses shows, on series whose answer is visible."""

from __future__ import annotations

import pytest

from neuron_signatures.interventions.controls.nulls import Outcome
from neuron_signatures.interventions.steer.doses import dose_null
from neuron_signatures.interventions.steer.response import Response, breaks, effects_found, repeats, response
from neuron_signatures.runs.intervention_records import Null

ALPHAS = (-2.0, -1.0, 0.0, 1.0, 2.0)


def null(p: float) -> Null:
    return Null(what="random", n=99, mean=0.0, std=1.0, low=-1.0, high=1.0, most=2.0, exceeded=0, p=p)


@pytest.mark.parametrize(
    ("values", "monotone", "turns_at"),
    [
        ((-2.0, -1.0, 0.0, 1.0, 2.0), True, None),
        ((2.0, 1.0, 0.0, -1.0, -2.0), True, None),
        ((-2.0, -1.0, 0.0, 1.0, 0.5), False, 1.0),  # up, then down after 1
        ((0.0, -1.0, 0.0, 1.0, 2.0), False, -1.0),  # below 0 it rises again after -1
        ((4.0, 1.0, 0.0, 1.0, 4.0), False, 0.0),  # a parabola turns at 0
        ((-1.0, -1.0, 0.0, 1.0, 1.0), True, None),  # saturates
        ((1.0, 1.0, 1.0, 1.0, 1.0), True, None),
        ((0.0, 0.0, 0.0, 1e-5, 0.0), True, None),  # rounding
    ],
)
def test_response(values: tuple[float, ...], monotone: bool, turns_at: float | None) -> None:
    found = response(ALPHAS, values)
    assert (found.monotone, found.turns_at) == (monotone, turns_at)


def test_spearman() -> None:
    assert response(ALPHAS, (1.0, 2.0, 3.0, 4.0, 50.0)).spearman == pytest.approx(1)
    assert response(ALPHAS, (1.0, 1.0, 1.0, 1.0, 1.0)).spearman is None


def test_response_of_amounts_on_one_side() -> None:
    assert response((0.0, 1.0, 2.0), (0.0, 1.0, 0.0)) == Response(False, pytest.approx(0, abs=1e-9), 1.0)
    assert response((-2.0, -1.0, 0.0), (0.0, -1.0, 0.0)).turns_at == -1.0


def test_breaks_are_nearest_to_zero() -> None:
    texts = [list(range(8))] * 5
    found = breaks(ALPHAS, (50.0, 9.0, 2.0, 8.0, 8.1), texts, factor=4.0)
    assert (found.below, found.above, found.broken) == (-1.0, 2.0, (-2.0, -1.0, 2.0))
    short = [list(range(7))] * 5
    assert breaks(ALPHAS, (50.0, 9.0, 2.0, 8.0, 8.1), short, factor=4.0).broken == ()
    assert breaks(ALPHAS, (None,) * 5, [[]] * 5, factor=4.0) == (None, None, ())


def test_a_repeated_token_breaks_a_text_unless_the_unsteered_one_repeats_it() -> None:
    fine, stuck = [1, 2, 3, 4, 5], [7] * 5
    assert breaks(ALPHAS, (2.0,) * 5, [stuck, fine, fine, fine, fine], factor=4.0).broken == (-2.0,)
    assert breaks(ALPHAS, (2.0,) * 5, [stuck, fine, stuck, fine, fine], factor=4.0).broken == ()


def test_repeats() -> None:
    assert repeats([1, 2, 2, 2, 2, 2, 3])
    assert not repeats([1, 2, 2, 2, 2, 3])
    assert repeats([1, 2, 1, 3, 1, 4, 1, 5, 1, 1])  # 6 of 10
    assert not repeats([1, 2, 1, 3, 1, 4, 1, 5, 1, 6])  # half
    assert not repeats([1, 1, 1]) and not repeats([])


def test_effects_are_after_bonferroni() -> None:
    found = effects_found(ALPHAS, [null(0.01), null(0.02), None, null(0.0125), null(0.5)])
    assert (found.n_tested, found.smallest, found.alphas) == (4, pytest.approx(0.04), (-2.0, 1.0))
    assert effects_found((0.0,), [None]) == (0, None, (), 1.0)


def outcomes(values: list[float]):
    return iter([Outcome(v, False) for v in values])


def test_a_null_has_a_hundred_draws_before_it_stops() -> None:
    found = dose_null("random", 1.0, outcomes([2.0] * 5000), n=1000)
    assert (found.n, found.exceeded, found.p) == (100, 100, 1.0)


def test_a_null_stops_once_ten_do_as_well() -> None:
    values = [2.0] * 9 + [0.0] * 291 + [-2.0] + [0.0] * 5000
    found = dose_null("random", 1.0, outcomes(values), n=1000)
    assert (found.n, found.exceeded, found.p) == (301, 10, pytest.approx(10 / 301))


def test_a_null_that_never_does_as_well() -> None:
    found = dose_null("random", -1.0, outcomes([0.5] * 5000), n=1000)
    assert (found.n, found.exceeded, found.p) == (1000, 0, pytest.approx(1 / 1001))
    few = dose_null("random", -1.0, outcomes([0.5] * 5000), n=50)
    assert (few.n, few.p) == (50, pytest.approx(1 / 51))
