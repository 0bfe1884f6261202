"""Groups of windows by their distances, and how many kinds of windows there are.

The effective number of groups with shares p is exp(-Σ p log p) (Hill 1973; order 1). Without groups it is
exp(-Σ p_i log Σ_j Z_ij p_j) for windows with shares p and similarities Z (Leinster and Cobbold 2012, "Measuring
diversity: the importance of species similarity"), which is the former if windows of a group are alike and others not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64
from scipy.cluster import hierarchy  # type: ignore[import-untyped]

Distances = Float[np.ndarray, "window window"]
"""Symmetric, from 0 to 1."""


class Measures(NamedTuple):
    """`within` and `between` are mean distances of windows of the same and of different groups; NaN without such pairs.
    `diversity` is the effective number without groups; it is 1 if all windows are alike."""

    n_windows: int
    n_groups: int
    effective_number: float
    within: float
    between: float
    diversity: float


def group_windows(distances: Distances, threshold: float) -> Int64[np.ndarray, " window"]:
    """The group of each window, from 0, the largest first: average linkage, cut where the mean distance of two groups
    reaches `threshold`."""
    n = len(distances)
    if n < 2:
        return np.zeros(n, np.int64)
    tree = hierarchy.linkage(_pairs(distances), "average")
    found = hierarchy.fcluster(tree, threshold, "distance") - 1
    sizes = np.bincount(found)
    first = np.array([np.flatnonzero(found == g)[0] for g in range(len(sizes))])
    order = np.lexsort((first, -sizes))
    number = np.empty(len(sizes), np.int64)
    number[order] = np.arange(len(sizes))
    ordered: np.ndarray = number[found]
    return ordered


def measure(distances: Distances, group: Int64[np.ndarray, " window"]) -> Measures:
    """The measures of at least one window."""
    share = np.bincount(group) / len(group)
    apart, same = _pairs(distances), _pairs((group[:, None] == group[None, :]).astype(np.float64)) > 0
    return Measures(len(group), len(share), _hill(share), _mean(apart[same]), _mean(apart[~same]), diversity(distances))


def diversity(distances: Distances) -> float:
    """The effective number of different windows, each with the same share; similarity is 1 - distance."""
    ordinary = (1 - distances).mean(axis=1)
    return float(np.exp(-np.log(ordinary).mean()))


def cohesion(distances: Distances, group: Int64[np.ndarray, " window"]) -> list[float]:
    """Of each group: 1 - mean distance of its windows; NaN for a single one."""
    return [1 - _mean(_pairs(distances[np.ix_(own, own)])) for own in members(group)]


def members(group: Int64[np.ndarray, " window"]) -> list[Int64[np.ndarray, " member"]]:
    """The places of the windows of each group."""
    return [np.flatnonzero(group == g) for g in range(int(group.max(initial=-1)) + 1)]


def _pairs(square: Float[np.ndarray, "window window"]) -> Float[np.ndarray, " pair"]:
    return square[np.triu_indices(len(square), 1)].astype(np.float64)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _hill(share: Float[np.ndarray, " group"]) -> float:
    return float(np.exp(-(share * np.log(share)).sum()))
