"""Numbers about the result as a whole: classes beside chance, and neighbours beside their null."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.weights.folder import CLASSES, WEIGHTS
from neuron_signatures.weights.classes import Limits, class_counts, fitting
from neuron_signatures.weights.request import Rules
from neuron_signatures.weights.tables import WeightTables

NULL_QUANTILE: Final = 0.99
"""Of the null of neighbours: what exceeds it is counted."""
_MOMENTS: Final = ("logit_variance", "logit_skewness", "logit_kurtosis", "null_share")


class Chance(NamedTuple):
    """Of a class: how many neurons, what share of them, and the share of random directions."""

    neurons: int
    share: float
    random_share: float


def classes_beside_chance(tables: WeightTables) -> dict[str, Chance]:
    """Every class, also those without a neuron."""
    own, random = class_counts(tables.neurons["class"]), class_counts(tables.random["class"])
    n, n_random = len(tables.neurons), len(tables.random)
    return {name: Chance(own[name], own[name] / n, random[name] / n_random) for name in CLASSES}


def facts_of(tables: WeightTables, limits: Limits, rules: Rules) -> dict[str, Any]:
    """For the stage record."""
    fits = fitting(tables.neurons, rules, limits)
    facts = {
        "n_neurons": len(tables.neurons),
        "n_random": len(tables.random),
        "limits": {**limits._asdict(), "norm": {str(k): v for k, v in limits.norm.items()}},
        "classes": {name: found._asdict() for name, found in classes_beside_chance(tables).items()},
        "fits_rule": {name: int(rows.sum()) for name, rows in fits.items()},
        "moments": {
            name: {"neurons": _quantiles(tables.neurons[name]), "random": _quantiles(tables.random[name])}
            for name in _MOMENTS
        },
        "neighbours": neighbour_facts(tables),
    }
    plain: dict[str, Any] = strict(facts)
    return plain


def neighbour_facts(tables: WeightTables) -> dict[str, dict[str, float]]:
    """By kind of weights: the null of the best |cosine|, and how many neurons exceed it. Empty without neighbours."""
    best = tables.neighbours[tables.neighbours["rank"] == 1]
    found: dict[str, dict[str, float]] = {}
    for kind in WEIGHTS:
        null = tables.neighbour_null.loc[tables.neighbour_null["weight"] == kind, "cosine"].to_numpy(np.float64)
        if not len(null):
            continue
        own = best.loc[best["weight"] == kind, "cosine"].abs().to_numpy(np.float64)
        high = float(np.quantile(null, NULL_QUANTILE))
        found[kind] = {
            "median": float(np.median(own)), "n_above": int((own > high).sum()),
            "share_above": float((own > high).mean()),
            "null_mean": float(null.mean()), "null_sd": float(null.std()), "null_median": float(np.median(null)),
            "null_high": high, "n_null": len(null),
        }  # fmt: skip
    return found


def _quantiles(values: pd.Series) -> dict[str, float]:
    return {str(q): float(values.quantile(q)) for q in (0.001, 0.01, 0.5, 0.99, 0.999)}
