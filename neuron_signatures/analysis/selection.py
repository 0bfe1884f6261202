"""Which neurons of a ranking are kept: the best k, the smallest part that holds a share of the mass, k per layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Integer, Shaped

from neuron_signatures.runs.errors import UsageError

# Sums of many floats are this exact; without it, shares that are equal on paper would fall on either side.
_SLACK = 1e-12


DEFAULT_TOP_K = 200  # where no limit is given


@dataclass(frozen=True)
class SelectionConfig:
    """Limits that are applied in this order, each optional: per layer, share of the mass, number."""

    per_layer_k: int | None = None
    cumulative_threshold: float | None = None
    top_k: int | None = None


class Selection(NamedTuple):
    """Rows in order of rank.

    `share` is each row's part of `total`, the sum of the whole column, and `cumulative_share` their running sum over
    the rows selected; both are NaN where shares mean nothing (a total of 0, or negative scores).
    """

    rows: Int64[np.ndarray, " selected"]
    share: Float64[np.ndarray, " selected"]
    cumulative_share: Float64[np.ndarray, " selected"]
    total: float


def select(
    score: Shaped[np.ndarray, " row"],
    layer: Integer[np.ndarray, " row"],
    neuron: Integer[np.ndarray, " row"],
    config: SelectionConfig,
) -> Selection:
    """The rows of the largest scores within the limits of `config`, ties by (layer, neuron) ascending.

    Scores that are not finite come last, are never selected and never counted. For signed scores pass their
    absolute values. Raises `UsageError` for limits out of range, and for a share of a column that has negatives.
    """
    _check(config)
    score = np.asarray(score, dtype=np.float64)
    rows = rank(score, layer, neuron)
    finite = score[rows]
    has_shares = not (finite < 0).any()
    total = math.fsum(finite) if has_shares else math.nan
    if config.per_layer_k is not None:
        rows = per_layer_k(rows, layer, config.per_layer_k)
    if config.cumulative_threshold is not None:
        if not has_shares:
            raise UsageError("a share of a column with negative values means nothing", next_step="Use --top_k")
        rows = rows[: cumulative(score[rows], config.cumulative_threshold, total=total)]
    rows = rows[: config.top_k]
    share = score[rows] / total if has_shares and total > 0 else np.full(len(rows), np.nan)
    return Selection(rows, share, np.cumsum(share), total)


def rank(
    score: Float64[np.ndarray, " row"], layer: Integer[np.ndarray, " row"], neuron: Integer[np.ndarray, " row"]
) -> Int64[np.ndarray, " finite"]:
    """Rows with a finite score, the largest first, ties by (layer, neuron) ascending."""
    rows = np.flatnonzero(np.isfinite(score))
    return rows[np.lexsort((neuron[rows], layer[rows], -score[rows]))]


def cumulative(ranked: Float64[np.ndarray, " row"], threshold: float, *, total: float) -> int:
    """Length of the smallest prefix of `ranked` (descending, non-negative) that holds `threshold` of `total`.

    0 is reached by the empty prefix. 1 takes every score above zero, however small. A total of 0 gives the empty
    prefix. Where the prefix cannot reach the share (scores left out before), it is every score above zero.
    """
    mass = int(np.count_nonzero(ranked))
    need = threshold * total * (1 - _SLACK)
    if need <= 0:
        return 0
    if threshold >= 1:
        return mass
    return min(mass, int(np.searchsorted(np.cumsum(ranked), need, side="left")) + 1)


def per_layer_k(
    rows: Int64[np.ndarray, " row"], layer: Integer[np.ndarray, " all"], k: int
) -> Int64[np.ndarray, " kept"]:
    """Of ranked `rows`, the first k of each layer, in the order they had."""
    by_layer = np.argsort(layer[rows], kind="stable")
    layers = layer[rows][by_layer]
    place = np.arange(len(rows)) - np.searchsorted(layers, layers, side="left")
    return rows[np.sort(by_layer[place < k])]  # type: ignore[no-any-return]


def _check(config: SelectionConfig) -> None:
    share = config.cumulative_threshold
    if share is not None and not 0 <= share <= 1:
        raise UsageError(f"--cumulative_threshold {share} is not in [0, 1]")
    for name in ("top_k", "per_layer_k"):
        k = getattr(config, name)
        if k is not None and k < 1:
            raise UsageError(f"--{name} {k} is below 1")
