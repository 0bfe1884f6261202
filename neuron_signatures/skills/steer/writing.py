"""The tables of `--mode steer`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.columns import STEERING, STEERING_SUMMARY
from neuron_signatures.skills.steer.controls import ROLES
from neuron_signatures.skills.steer.edits import Change
from neuron_signatures.skills.steer.plan import Case, Plan
from neuron_signatures.skills.steer.results import Found, Results
from neuron_signatures.skills.steer.texts import ClassTexts
from neuron_signatures.skills.steer.verdicts import Verdict

_FIELDS = (
    "role", "outcome", "chosen", "effect", "low", "high", "control_mean", "control_sd", "control_low", "control_high",
    "n_controls", "n_undefined", "win_rate", "win_low", "win_high", "p", "kl", "perplexity_ratio", "control_kl",
)  # fmt: skip


def steering_frame(plan: Plan, results: Results, texts: ClassTexts) -> pd.DataFrame:
    """A row per case, role, unit and measured class: the columns `STEERING`."""
    columns: dict[str, list[Any]] = {name: [] for name in STEERING}
    for case in plan.cases():
        own = plan.change(case)
        for role, changes in (("specific", [own]), *((r, plan.controls_of(case, r)) for r in ROLES)):
            for change in changes:
                for row in _rows(_Measured(case, role, change, results[case.specific.bank, change]), texts):
                    for name, value in zip(STEERING, row, strict=True):
                        columns[name].append(value)
    return pd.DataFrame(columns)


def summary_frame(found: Iterable[Verdict]) -> pd.DataFrame:
    """The columns `STEERING_SUMMARY`."""
    rows = []
    for v in found:
        unit = v.case.specific
        named = {**_unit(unit.bank, unit.unit), "class": unit.for_class, "edit": v.case.edit, "dose": v.case.dose}
        rows.append(named | {name: getattr(v, name) for name in _FIELDS})
    return pd.DataFrame(rows, columns=list(STEERING_SUMMARY))


class _Measured(NamedTuple):
    case: Case
    role: str
    change: Change
    found: Found


def _rows(m: _Measured, texts: ClassTexts) -> Iterable[tuple[Any, ...]]:
    specific = m.case.specific
    unit = _unit(specific.bank, m.change.unit)
    of_unit = "" if m.role == "specific" else specific.label
    for at, (name, rows) in enumerate(texts.rows.items()):
        yield (
            *unit.values(), m.role, specific.for_class, of_unit, m.case.edit, m.case.dose, m.change.value, name,
            m.found.by_class[at], m.found.against_others(at), np.nan if m.found.tokens is None else m.found.tokens[at],
            m.found.kl, m.found.perplexity_ratio, np.int32(len(rows)),
        )  # fmt: skip


def _unit(bank: Bank, unit: int) -> dict[str, Any]:
    return {
        "source": bank.source, "site": bank.site, "layer": bank.layer, "unit": unit, "label": bank.label(unit),
    }  # fmt: skip
