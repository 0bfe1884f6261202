"""What raters say about explanations of other units: chance for what they say about the unit's own.

A rating depends on the explanation and the class alone. So where every explanation was rated for every class, what a
rater says about any other assignment of explanations to units is known, and the null is many permutations at no cost.
Where only own classes were rated, `shuffled_pairs` are asked once more, and the null is that one set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from neuron_signatures.runs.skills.columns import CLASSIFICATION_CONTROLS
from neuron_signatures.skills.classify.answers import ACTIVATIONS, AUROC, HAND
from neuron_signatures.skills.classify.items import ExplainedUnit
from neuron_signatures.skills.classify.rating import Rating

if TYPE_CHECKING:
    import pandas as pd

N_NULL: Final = 1000
_WITHOUT: Final = (ACTIVATIONS, AUROC)
"""Raters who do not read the explanation."""


def control_rows(ratings: Sequence[Rating], *, seed: int) -> list[dict[str, Any]]:
    """One row per rater and source (an empty source is all), of all samples of a rater together."""
    rows: list[dict[str, Any]] = []
    by_rater: dict[str, list[Rating]] = defaultdict(list)
    for rating in ratings:
        if rating.rater not in _WITHOUT:
            by_rater[rating.rater].append(rating)
    for rater, of_rater in by_rater.items():
        sources = sorted({r.pair.unit.unit.bank.source for r in of_rater})
        for source in ["", *sources] if len(sources) > 1 else [""]:
            chosen = [r for r in of_rater if source in ("", r.pair.unit.unit.bank.source)]
            rng = np.random.default_rng([seed, len(rows)])
            if rater != HAND and (row := _permuted(rater, source, chosen, rng)) is not None:
                rows.append(row)
            if (row := _one_set(rater, source, chosen)) is not None:
                rows.append(row)
    return rows


def controls_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(CLASSIFICATION_CONTROLS))


def _permuted(rater: str, source: str, ratings: Sequence[Rating], rng: np.random.Generator) -> dict[str, Any] | None:
    """None unless every explanation was rated for the own classes of the other units, of which two are needed.

    Units about which nothing valid was said are left out, and single failed ratings from the means.
    """
    own = [r for r in ratings if not r.pair.is_control]
    asked = {r.pair.name for r in own}
    units = list(dict.fromkeys(r.pair.unit for r in own if r.pair.unit.own_class in asked))
    classes = sorted({u.own_class for u in units if u.own_class})
    if len({(r.pair.unit.unit, r.pair.name) for r in own if r.pair.name in classes}) < len(units) * len(classes):
        return None
    said = _means(own, units, classes)
    heard = ~np.isnan(said).all(axis=1)
    units, said = [u for u, keep in zip(units, heard, strict=True) if keep], said[heard]
    if len({u.own_class for u in units}) < 2:
        return None
    target = np.array([classes.index(u.own_class or "") for u in units])
    groups = [np.flatnonzero([u.unit.bank.source == s for u in units]) for s in {u.unit.bank.source for u in units}]
    value = float(np.nanmean(said[np.arange(len(units)), target]))
    nulls = np.empty(N_NULL)
    for i in range(N_NULL):
        order = np.arange(len(units))
        for group in groups:
            order[group] = rng.permutation(group)
        nulls[i] = np.nanmean(said[order, target])
    p = (1 + int((nulls >= value - 1e-12).sum())) / (1 + N_NULL)
    return {
        "rater": rater, "source": source, "statistic": _statistic(own), "null": "permuted", "n": len(units),
        "value": value, "null_mean": float(nulls.mean()), "null_sd": float(nulls.std(ddof=1)), "p": p,
        "n_null": N_NULL,
    }  # fmt: skip


def _means(ratings: Sequence[Rating], units: Sequence[ExplainedUnit], classes: Sequence[str]) -> np.ndarray:
    """Share of yes, or mean number, of the samples of each unit (rows) and class; NaN where nothing valid was said."""
    row, column = {u.unit: i for i, u in enumerate(units)}, {c: i for i, c in enumerate(classes)}
    total, n = np.zeros((len(units), len(classes))), np.zeros((len(units), len(classes)))
    for r in ratings:
        if r.status == "ok" and r.pair.unit.unit in row and r.pair.name in column:
            at = row[r.pair.unit.unit], column[r.pair.name]
            total[at] += _number(r)
            n[at] += 1
    return np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)


def _one_set(rater: str, source: str, ratings: Sequence[Rating]) -> dict[str, Any] | None:
    """None without shuffled explanations that were asked about."""
    own = [_number(r) for r in ratings if r.status == "ok" and not r.pair.is_control
           and r.pair.name == r.pair.unit.own_class]  # fmt: skip
    other = [_number(r) for r in ratings if r.status == "ok" and r.pair.is_control]
    if not own or not other:
        return None
    return {
        "rater": rater, "source": source, "statistic": _statistic(ratings), "null": "one_set", "n": len(own),
        "value": float(np.mean(own)), "null_mean": float(np.mean(other)), "null_sd": None, "p": None, "n_null": 1,
    }  # fmt: skip


def _statistic(ratings: Sequence[Rating]) -> str:
    return "share_yes" if any(r.answer for r in ratings) else "mean_confidence"


def _number(rating: Rating) -> float:
    return float(rating.answer == "yes") if rating.answer else float(rating.confidence or 0.0)
