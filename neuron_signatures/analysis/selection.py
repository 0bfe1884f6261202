"""Selects the neurons of a ranking: the first k, the fewest that hold a share of the total, at most k per layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64, Integer, Shaped

from neuron_signatures.runs.errors import UsageError

# Relative error of sums of many floats: shares that differ by less count as equal.
_SLACK = 1e-12
DEFAULT_TOP_K = 200  # if no limit is given


@dataclass(frozen=True)
class SelectionConfig:
    """Optional limits, applied in this order: per layer, share of the total, number."""

    per_layer_k: int | None = None
    cumulative_threshold: float | None = None
    top_k: int | None = None


class Selection(NamedTuple):
    """The selected rows in order of rank.

    `share` is each row's share of `total`, the sum of the whole column, and `cumulative_share` its running sum; both
    are NaN where shares are undefined (a total of 0, or negative scores).
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

    NaN and infinite scores are excluded, also from the total. Pass the absolute values of signed scores. Raises
    `UsageError` for limits out of range, and for a share of a column that has negative values.
    """
    _check(config)
    score = np.asarray(score, dtype=np.float64)
    rows = rank(score, layer, neuron)
    finite = score[rows]
    has_shares = not (finite < 0).any()
    total = math.fsum(finite) if has_shares else math.nan
    if config.per_layer_k is not None:
        rows = rows[pd.Series(rows).groupby(layer[rows]).cumcount().to_numpy() < config.per_layer_k]
    if config.cumulative_threshold is not None:
        if not has_shares:
            raise UsageError("shares of a column with negative values are undefined", next_step="Use --top_k")
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

    A threshold or total of 0 gives the empty prefix, a threshold of 1 every score above zero. If no prefix reaches the
    threshold (because scores were removed before), it is also every score above zero.
    """
    n_positive = int(np.count_nonzero(ranked))
    need = threshold * total * (1 - _SLACK)
    if need <= 0:
        return 0
    if threshold >= 1:
        return n_positive
    return min(n_positive, int(np.searchsorted(np.cumsum(ranked), need, side="left")) + 1)


def _check(config: SelectionConfig) -> None:
    share = config.cumulative_threshold
    if share is not None and not 0 <= share <= 1:
        raise UsageError(f"--cumulative_threshold {share} is not in [0, 1]")
    for name in ("top_k", "per_layer_k"):
        k = getattr(config, name)
        if k is not None and k < 1:
            raise UsageError(f"--{name} {k} is below 1")
