"""The dose of the claim of each class, source and edit: fixed, or chosen on the texts of `find`.

The held-out texts, on which effects are reported, have no part in it: the best of several doses on the same texts would
look better than it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.skills.steer.edits import EditKind
from neuron_signatures.skills.steer.plan import Case, Plan
from neuron_signatures.skills.steer.results import Results


class Family(NamedTuple):
    """The specific units of one class and source, with one edit: what a claim is about."""

    for_class: str
    source: str
    edit: EditKind


def family_of(case: Case) -> Family:
    return Family(case.specific.for_class, case.specific.bank.source, case.edit)


def fixed_doses(plan: Plan, dose: float) -> dict[Family, float]:
    """The same dose for every family. Raises `UsageError` unless it is one of the doses of each."""
    measured: dict[Family, set[float]] = defaultdict(set)
    for case in plan.cases():
        measured[family_of(case)].add(case.dose)
    for family, doses in measured.items():
        if dose not in doses:
            have = ", ".join(f"{d:g}" for d in sorted(doses))
            what = f"{dose:g} is none of the doses of {family.source}, {family.edit}: {have}"
            raise UsageError(what, where="--dose", next_step="Give one of them, or find")
    return dict.fromkeys(measured, dose)


def chosen_doses(
    plan: Plan, find: Results, classes: tuple[str, ...], *, of_tokens: bool = False
) -> dict[Family, float]:
    """The dose with the largest mean effect of the family's units on the texts of their class, or on its tokens in the
    texts of other classes; the smallest one of equals, or if all are undefined."""
    effects: dict[Family, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for case in plan.cases():
        found = find[case.specific.bank, plan.change(case)]
        values = found.tokens if of_tokens and found.tokens is not None else found.by_class
        effects[family_of(case)][case.dose].append(values[classes.index(case.specific.for_class)])
    return {family: _best(by_dose) for family, by_dose in effects.items()}


def _best(by_dose: Mapping[float, list[float]]) -> float:
    means = {dose: float(np.mean(values)) for dose, values in by_dose.items()}
    return max(sorted(means), key=lambda dose: means[dose] if np.isfinite(means[dose]) else -np.inf)
