"""The tables of stage 8, from the arrays of the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from neuron_signatures.runs.weights.folder import WEIGHTS, Weight
from neuron_signatures.weights.classes import Limits, classify, find_limits
from neuron_signatures.weights.measure import LayerStatistics
from neuron_signatures.weights.nearest import Nearest
from neuron_signatures.weights.request import Rules
from neuron_signatures.weights.statistics import PAIR_COLUMNS, WRITE_COLUMNS


@dataclass(frozen=True)
class WeightTables:
    """The four tables of `runs.weights.folder`; those of neighbours are empty if none were asked for."""

    neurons: pd.DataFrame
    random: pd.DataFrame
    neighbours: pd.DataFrame
    neighbour_null: pd.DataFrame


def statistics_tables(
    layers: Mapping[int, LayerStatistics], rules: Rules, n_layers: int
) -> tuple[pd.DataFrame, pd.DataFrame, Limits]:
    """Neurons and random directions with their classes, and the limits of these. `n_layers` of the model."""
    neurons = _stacked(
        {layer: found.neurons for layer, found in layers.items()}, "neuron", WRITE_COLUMNS + PAIR_COLUMNS
    )
    random = _stacked({layer: found.random for layer, found in layers.items()}, "draw", WRITE_COLUMNS)
    limits = find_limits(neurons, random, rules, n_layers)
    for table in (neurons, random):
        table["class"] = classify(table, rules, limits)
    return neurons, random, limits


def neighbour_tables(
    found: Mapping[Weight, Nearest], layers: Sequence[int], d_mlp: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Neighbours by neuron, kind of weights and rank, and their null."""
    of_layer = np.array(layers, np.int32)
    parts, nulls = [], []
    for kind in (k for k in WEIGHTS if k in found):
        nearest = found[kind]
        unit, rank = np.nonzero(nearest.ids >= 0)
        other = nearest.ids[unit, rank]
        parts.append(pd.DataFrame({
            "layer": of_layer[unit // d_mlp], "neuron": (unit % d_mlp).astype(np.int32),
            "weight": _repeated(kind, len(unit)), "rank": (rank + 1).astype(np.int32),
            "other_layer": of_layer[other // d_mlp],
            "other_neuron": (other % d_mlp).astype(np.int32), "cosine": nearest.cosines[unit, rank],
        }))  # fmt: skip
        nulls.append(pd.DataFrame({
            "weight": _repeated(kind, len(nearest.sample)), "layer": of_layer[nearest.sample // d_mlp],
            "neuron": (nearest.sample % d_mlp).astype(np.int32), "cosine": nearest.null,
        }))  # fmt: skip
    if not parts:
        empty = pd.DataFrame(columns=["layer", "neuron", "weight", "rank", "other_layer", "other_neuron", "cosine"])
        return empty, empty[["weight", "layer", "neuron", "cosine"]]
    every = pd.concat(parts, ignore_index=True)
    order = np.lexsort((every["rank"], every["weight"].cat.codes, every["neuron"], every["layer"]))
    return every.iloc[order].reset_index(drop=True), pd.concat(nulls, ignore_index=True)


def _repeated(kind: Weight, n: int) -> pd.Categorical:
    return pd.Categorical.from_codes(np.full(n, WEIGHTS.index(kind), np.int8), categories=list(WEIGHTS))


def _stacked(
    layers: Mapping[int, Float64[np.ndarray, "row column"]], name: str, columns: Sequence[str]
) -> pd.DataFrame:
    n = [len(rows) for rows in layers.values()]
    table = pd.DataFrame(np.concatenate(list(layers.values())), columns=list(columns))
    table.insert(0, "layer", np.repeat(np.array(list(layers), np.int32), n))
    table.insert(1, name, np.concatenate([np.arange(k, dtype=np.int32) for k in n]))
    return table
