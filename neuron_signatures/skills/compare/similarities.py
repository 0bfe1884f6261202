"""The tables `similarities` and `separation`: similarities of groups with intervals and nulls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from neuron_signatures.runs.progress import Bar
from neuron_signatures.runs.skills import columns
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.skills.compare.draws import N_SPLITS, comparison, parts_of, separation_blocks
from neuron_signatures.skills.compare.engine import Measured, Scope, measure, scopes_of
from neuron_signatures.skills.compare.groups import Compared, Groups
from neuron_signatures.skills.compare.intervals import centred_interval, null_of, percentiles
from neuron_signatures.skills.compare.measures import COLUMNS
from neuron_signatures.skills.compare.prepared import BACKGROUNDS, Prepared
from neuron_signatures.skills.compare.request import Resampling

_RANGE: Final = np.array([
    {"jaccard": (0, 1), "overlap": (0, 1), "cosine": (0, 1), "dot": (0, np.inf)}.get(name, (-1, 1))
    for name, _ in COLUMNS
])  # fmt: skip
_SHOWN: Final = np.array([[b != "idf" or m != "spearman" for m, _ in COLUMNS] for b in BACKGROUNDS])
"""Ranks have no weighted form."""
Load = Callable[[Bank], Prepared]
Columns = dict[str, Any]
"""Columns of a table: an array, or one value of all rows."""


def n_steps(groups: Groups, banks: Sequence[Bank]) -> int:
    """Steps of the bar of `tables`."""
    passes = 2 if any(len(group) > 1 for group in scopes_of(banks)) else 1
    return passes * len(banks) * (len(groups.compared) + 3)


def tables(
    groups: Groups, banks: Sequence[Bank], load: Load, resampling: Resampling, *, min_share: float, bar: Bar
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`similarities` and `separation`."""
    blocks = [
        comparison(groups.members[c.a], groups.members[c.b], (c.a.name, c.b.name), resampling) for c in groups.compared
    ]
    n = len(blocks)
    blocks += separation_blocks(list(groups.classes.values()), resampling)
    rows: list[Columns] = []
    of_scope: dict[Scope, dict[int, np.ndarray]] = {}
    for found in measure(blocks, banks, load, min_share=min_share, bar=bar):
        if found.block < n:
            rows.append(_similarity_rows(found, groups.compared[found.block], groups, resampling))
            continue
        values = of_scope.setdefault(found.scope, {})
        values[found.block - n] = _differences(found.values, len(groups.classes))
    separated = [_separation_rows(scope, values) for scope, values in of_scope.items()]
    return _ordered(rows, columns.SIMILARITIES), _ordered(separated, columns.SEPARATION)


def _similarity_rows(found: Measured, compared: Compared, groups: Groups, resampling: Resampling) -> Columns:
    values, parts = found.values[:, 0], parts_of(resampling)
    low, high = _bounded(*centred_interval(values[0], values[parts.bootstrap]))
    null = null_of(values[0], values[parts.permuted], at_most=True)
    halves, halves_low, halves_high = percentiles(values[parts.halves])
    n_units = np.broadcast_to(found.n_units[:, None], values[0].shape)
    found_columns = _long({
        "value": values[0], "low": low, "high": high, "null_mean": null.mean, "null_sd": null.sd, "p": null.p,
        "n_null": null.n, "halves_mean": halves, "halves_low": halves_low, "halves_high": halves_high,
        "n_units": n_units,
    })  # fmt: skip
    a, b = compared.a, compared.b
    named = {"level": compared.level, "class_a": a.class_name, "skill_a": a.skill, "class_b": b.class_name,
             "skill_b": b.skill, "n_a": len(groups.members[a]), "n_b": len(groups.members[b])}  # fmt: skip
    return {**found_columns, **named, **_scope(found.scope)}


def _differences(values: np.ndarray, n_classes: int) -> np.ndarray:
    """Per draw, averaged over its splits: mean within, mean between, and their difference; axis 1."""
    within, between = values[:, :n_classes].mean(axis=1), values[:, n_classes:].mean(axis=1)
    stacked = np.stack([within, between, within - between], axis=1)
    averaged: np.ndarray = stacked.reshape(-1, N_SPLITS, *stacked.shape[1:]).mean(axis=1)
    return averaged


def _separation_rows(scope: Scope, values: dict[int, np.ndarray]) -> Columns:
    observed, bootstrap, permuted = (values[i] for i in range(3))
    within, between, difference = observed[0]
    low, high = centred_interval(difference, bootstrap[:, 2])
    null = null_of(difference, permuted[:, 2], at_most=False)
    found_columns = _long({
        "within": within, "between": between, "difference": difference, "low": low, "high": high,
        "null_mean": null.mean, "null_sd": null.sd, "p": null.p, "n_null": null.n,
    })  # fmt: skip
    return {**found_columns, **_scope(scope)}


def _long(values: dict[str, np.ndarray]) -> Columns:
    """A row per background and column of `COLUMNS`."""
    at = np.argwhere(_SHOWN)
    return {
        **{name: array[tuple(at.T)] for name, array in values.items()},
        "background": np.array([BACKGROUNDS[i] for i, _ in at], object),
        "measure": np.array([COLUMNS[j][0] for _, j in at], object),
        "vector": np.array([COLUMNS[j][1] for _, j in at], object),
    }


def _bounded(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.clip(low, _RANGE[:, 0], _RANGE[:, 1]), np.clip(high, _RANGE[:, 0], _RANGE[:, 1])


def _scope(scope: Scope) -> Columns:
    return {"source": scope.source, "site": scope.site, "layer": np.nan if scope.layer is None else scope.layer}


def _ordered(parts: Sequence[Columns], names: Mapping[str, str]) -> pd.DataFrame:
    """One table, in the order of its keys; within a scope as they are. Single values are those of a whole part."""
    n = int(_SHOWN.sum())
    whole = pd.DataFrame({
        name: np.concatenate([np.full(n, v, object if isinstance(v, str) else None) if np.ndim(v) == 0 else v
                              for v in (part[name] for part in parts)])
        for name in names
    })  # fmt: skip
    for name, kind in names.items():
        if kind == "int32":
            whole[name] = whole[name].astype("Int32")
    keys = [k for k in ("level", "class_a", "skill_a", "class_b", "skill_b", "source", "site", "layer") if k in names]
    return whole.sort_values(keys, kind="stable", na_position="first", ignore_index=True)
