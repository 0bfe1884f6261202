"""Controls, doses and verdicts of steering, on hand-made numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import NEURONS, SAE, Bank
from neuron_signatures.skills.specific import SpecificUnit
from neuron_signatures.skills.steer.claim import Family, chosen_doses, family_of, fixed_doses
from neuron_signatures.skills.steer.controls import ROLES, controls_of
from neuron_signatures.skills.steer.doses import Doses, Sizes
from neuron_signatures.skills.steer.edits import BankWeights, Change
from neuron_signatures.skills.steer.plan import Case, Plan
from neuron_signatures.skills.steer.results import Found
from neuron_signatures.skills.steer.texts import ClassTexts
from neuron_signatures.skills.steer.units import BankFacts
from neuron_signatures.skills.steer.verdicts import together, verdict, verdicts

FEATURES = Bank(SAE, "res", 1, 40)
NEURON_BANK = Bank(NEURONS, "neuron", 1, 30)
CLASSES = ("a", "b", "c")


def facts(bank: Bank, *, dead: tuple[int, ...] = ()) -> BankFacts:
    share = np.linspace(0.01, 1, bank.width)
    share[list(dead)] = 0
    return BankFacts(bank, share, np.linspace(1, 5, bank.width), np.resize(np.linspace(1, 2, bank.n_units), bank.width))


def sizes(bank: Bank) -> Sizes:
    return Sizes(facts(bank), 10.0, np.tile(np.linspace(1, 4, bank.n_units), bank.width // bank.n_units))


def test_controls_are_other_units_that_fire() -> None:
    usable = np.ones(FEATURES.width, bool)
    usable[9] = False
    found = controls_of(facts(FEATURES, dead=(5, 6)), 20, usable, n=10, seed=0)
    for role in ROLES:
        columns = found.of(role)
        assert len(set(columns.tolist())) == 10
        assert not set(columns.tolist()) & {5, 6, 9, 20}
    # the shares are 1/40 apart: the five on each side
    assert sorted(found.matched.tolist()) == [15, 16, 17, 18, 19, 21, 22, 23, 24, 25]


def test_the_other_pole_is_no_control_and_small_banks_have_fewer() -> None:
    found = controls_of(facts(NEURON_BANK), 3, np.ones(60, bool), n=100, seed=0)
    for role in ROLES:
        assert sorted(found.of(role).tolist()) == [i for i in range(60) if i not in (3, 33)]


def test_units_of_a_bank_share_their_random_controls() -> None:
    one, two = (controls_of(facts(FEATURES), u, np.ones(40, bool), n=20, seed=7).random for u in (1, 30))
    assert len(set(one.tolist()) & set(two.tolist())) >= 18
    assert set(controls_of(facts(FEATURES), 1, np.ones(40, bool), n=20, seed=8).random.tolist()) != set(one.tolist())


def test_doses_are_in_the_units_of_each_edit() -> None:
    feature, neuron = sizes(FEATURES), sizes(NEURON_BANK)
    assert feature.change(3, "add", 0.5).value == pytest.approx(5.0)
    assert feature.control(8, "add", 0.5, of=3).value == pytest.approx(5.0)
    assert feature.control(39, "clamp", 2.0, of=3).value == pytest.approx(10.0)
    assert neuron.change(0, "add", 4.0).value == pytest.approx(4.0)
    # the same norm of what is written: std 1 and norm 1 against norm 4
    assert neuron.control(29, "add", 4.0, of=0).value == pytest.approx(1.0)


def plan(bank: Bank = FEATURES, *, n: int = 10) -> Plan:
    units = (SpecificUnit(bank, 3, "a", 1), SpecificUnit(bank, 30, "a", 2), SpecificUnit(bank, 5, "b", 1))
    size = sizes(bank)
    controls = {(bank, u.unit): controls_of(size.facts, u.unit, size.usable, n=n, seed=0) for u in units}
    weights = {bank: BankWeights(bank, torch.randn(bank.n_units, 4))}
    return Plan(units, ("add",), Doses((0.1, 0.2), (1.0,), (1.0,)), weights, {bank: size}, controls)


def test_every_change_is_measured_once() -> None:
    made = plan()
    groups = made.groups(controls=True)
    changes = [c for g in groups for c in g.changes]
    assert len(changes) == len(set(changes))
    wanted = {made.change(case) for case in made.cases()}
    assert wanted <= set(changes)
    for case in made.cases():
        assert set(made.controls_of(case, "random")) | set(made.controls_of(case, "matched")) <= set(changes)
    assert {c for g in made.groups(controls=False) for c in g.changes} == wanted


def found_with(effect: float, others: float = 0.0) -> Found:
    return Found(np.array([effect, others, others]), 0.5, 1.5)


def test_the_dose_of_a_claim_is_the_best_one_on_find() -> None:
    made = plan()
    find = {(FEATURES, made.change(c)): found_with(1.0 - abs(c.dose - 0.2), -1.0) for c in made.cases()}
    assert chosen_doses(made, find, CLASSES) == {Family("a", SAE, "add"): 0.2, Family("b", SAE, "add"): 0.1}
    undefined = {key: found_with(math.nan) for key in find}
    assert set(chosen_doses(made, undefined, CLASSES).values()) == {0.1}
    assert set(fixed_doses(made, 0.1).values()) == {0.1}
    with pytest.raises(UsageError, match="none of the doses of sae, add: "):
        fixed_doses(made, 0.4)


def case() -> Case:
    return next(iter(plan().cases()))


def test_a_verdict_counts_the_controls_with_a_smaller_effect() -> None:
    controls = [found_with(x) for x in (0.0, 0.1, 0.2, 0.3, math.nan)]
    v = verdict(case(), "random", "effect", found_with(0.2), controls, at=0, interval=(0.1, 0.3), chosen=True)
    assert (v.n_controls, v.n_undefined) == (4, 1)
    assert v.win_rate == 0.5
    assert v.p == pytest.approx(3 / 5)
    assert v.win_low is not None and v.win_high is not None and 0 < v.win_low < 0.5 < v.win_high < 1
    assert (v.control_mean, v.control_sd) == (pytest.approx(0.15), pytest.approx(np.std([0, 0.1, 0.2, 0.3])))
    other = verdict(case(), "random", "against_others", found_with(0.2, 0.3), controls, at=0, interval=(None, None),
                    chosen=True)  # fmt: skip
    assert other.effect == pytest.approx(-0.1)
    assert other.win_rate == 0.0


def test_an_undefined_effect_has_no_win_rate() -> None:
    v = verdict(case(), "random", "effect", found_with(math.nan), [found_with(0.0)], at=0, interval=(None, None),
                chosen=True)  # fmt: skip
    assert v.effect is None and v.win_rate is None and v.p is None


def texts() -> ClassTexts:
    rows = {name: np.arange(4 * i, 4 * i + 4) for i, name in enumerate(CLASSES)}
    return ClassTexts(((1, 2, 3),) * 12, tuple(range(12)), rows)


def test_the_units_of_a_class_are_taken_together() -> None:
    made, held_out = plan(), texts()
    results = {}
    for group in made.groups(controls=True):
        for change in group.changes:
            single = np.repeat([change.unit / 10, 0.0, 0.0], 4) + np.tile([0.1, -0.1, 0.2, -0.2], 3)
            means = np.array([single[rows].mean() for rows in held_out.rows.values()])
            results[FEATURES, change] = Found(means, 0.1, 1.1, single)
    doses = {family_of(c): 0.2 for c in made.cases()}
    found = list(verdicts(made, results, held_out, doses, seed=0))
    assert len(found) == 3 * 2 * 2 * 2
    groups = together(found, seed=0)
    a = next(g for g in groups if (g.for_class, g.role, g.outcome) == ("a", "random", "effect"))
    assert (a.n_units, a.dose, a.n_raised) == (2, 0.2, 2)
    assert a.median_effect == pytest.approx(1.65)
    wins = [v.win_rate for v in found if v.chosen and v.case.specific.for_class == "a" and v.role == "random"
            and v.outcome == "effect"]  # fmt: skip
    assert a.win_rate == pytest.approx(np.mean(wins))
    v = found[0]
    assert v.low is not None and v.high is not None and v.low < v.effect < v.high
    # texts differ by sd 0.158 around the mean of four
    assert v.high - v.low == pytest.approx(2 * 1.96 * 0.158 / 2, rel=0.25)


def test_the_plan_of_a_change_is_a_value() -> None:
    assert Change(1, "add", 2.0) == Change(1, "add", 2.0)
