"""One class for each neuron, by rules over its statistics and those of random directions (docs/poc8.md).

Prediction, suppression and partition: arXiv 2401.12181. Entropy and token frequency: arXiv 2406.16254.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from neuron_signatures.runs.weights.folder import CLASSES, WeightClass
from neuron_signatures.weights.request import Rules

PRIORITY: Final[tuple[WeightClass, ...]] = ("entropy", "prediction", "suppression", "token_frequency", "partition")
"""A neuron that several rules fit has the first of these."""


class Limits(NamedTuple):
    """The numbers that the rules compare with. `norm` is that of each layer; `frequency` is NaN without counts."""

    partition_variance: float
    frequency: float
    entropy_variance: float
    entropy_null_share: float
    entropy_first_layer: int
    norm: dict[int, float]


def find_limits(neurons: pd.DataFrame, random: pd.DataFrame, rules: Rules, n_layers: int) -> Limits:
    """`n_layers` of the model, of which `neurons` may have some."""
    variance = random["logit_variance"]
    norm = neurons.groupby("layer")["norm_out"].quantile(rules.entropy_norm)
    n_last = max(1, round(rules.entropy_layers * n_layers)) if rules.entropy_layers else 0
    return Limits(
        partition_variance=float(variance.quantile(rules.null)),
        frequency=float(random["frequency_correlation"].abs().quantile(rules.null)),
        entropy_variance=float(variance.quantile(1 - rules.null)),
        entropy_null_share=float(random["null_share"].quantile(rules.null)),
        entropy_first_layer=n_layers - n_last,
        norm={int(layer): float(value) for layer, value in norm.items()},
    )


def classify(table: pd.DataFrame, rules: Rules, limits: Limits) -> np.ndarray:
    """The class of each row of a table of neurons or random directions. An undefined number fits no rule."""
    fits = fitting(table, rules, limits)
    out = np.full(len(table), "none", dtype=object)
    for name in reversed(PRIORITY):
        out[fits[name]] = name
    return out


def fitting(table: pd.DataFrame, rules: Rules, limits: Limits) -> dict[WeightClass, np.ndarray]:
    """Which rows each rule fits, before the priority."""
    sharp = table["logit_kurtosis"] > rules.kurtosis
    variance = table["logit_variance"]
    entropy = (
        (table["layer"] >= limits.entropy_first_layer)
        & (table["norm_out"] >= table["layer"].map(limits.norm))
        & (variance < limits.entropy_variance)
        & (table["null_share"] > limits.entropy_null_share)
    )
    found = {
        "entropy": entropy,
        "prediction": sharp & (table["logit_skewness"] > 0),
        "suppression": sharp & (table["logit_skewness"] < 0),
        "token_frequency": table["frequency_correlation"].abs() > limits.frequency,
        "partition": variance > limits.partition_variance,
    }
    return {name: found[name].to_numpy(dtype=bool) for name in PRIORITY}


def class_counts(classes: pd.Series) -> dict[str, int]:
    """Rows of each class."""
    counts = classes.value_counts()
    return {name: int(counts.get(name, 0)) for name in CLASSES}
