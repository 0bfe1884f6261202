"""k-means and silhouettes of many small sets of points at the same time, as a null of many draws needs them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

N_STARTS = 4
"""Starts of k-means, of which the best counts."""
_MOST_STEPS = 50


class Clustering(NamedTuple):
    """One clustering of each set."""

    labels: Int64[np.ndarray, "set point"]
    silhouette: Float64[np.ndarray, " set"]
    """The mean over the points; 0 for a set in one cluster."""


def cluster(points: Float64[np.ndarray, "set point dim"], k: int, random: np.random.Generator) -> Clustering:
    """k-means with starts by k-means++ (Arthur and Vassilvitskii 2007), and the mean silhouette (Rousseeuw 1987)."""
    many = np.repeat(points, N_STARTS, axis=0)
    centres = _starts(many, k, random)
    labels = _nearest(many, centres)
    for _ in range(_MOST_STEPS):
        centres = _means(many, labels, centres)
        before, labels = labels, _nearest(many, centres)
        if np.array_equal(before, labels):
            break
    spread = _squares(many, centres).min(axis=2).sum(axis=1).reshape(len(points), N_STARTS)
    best = labels.reshape(len(points), N_STARTS, -1)[np.arange(len(points)), spread.argmin(axis=1)]
    return Clustering(best, silhouettes(points, best, k))


def silhouettes(
    points: Float64[np.ndarray, "set point dim"], labels: Int64[np.ndarray, "set point"], k: int
) -> Float64[np.ndarray, " set"]:
    """The mean silhouette of each set; a point alone in its cluster has 0."""
    apart = np.sqrt(_squares(points, points))
    member = labels[:, :, None] == np.arange(k)
    n = member.sum(axis=1, keepdims=True)
    sums = apart @ member.astype(np.float64)
    alone = np.take_along_axis(n, labels[:, None, :], axis=2)[:, 0] == 1
    own = np.where(member, sums / np.maximum(n - 1, 1), 0.0).sum(axis=2)
    other = np.where(member | (n == 0), np.inf, sums / np.maximum(n, 1)).min(axis=2)
    larger = np.maximum(own, other)
    defined = np.isfinite(other) & ~alone & (larger > 0)
    found = np.divide(np.where(defined, other - own, 0.0), larger, out=np.zeros_like(own), where=defined)
    means: np.ndarray = found.mean(axis=1)
    return means


def _starts(
    points: Float64[np.ndarray, "set point dim"], k: int, random: np.random.Generator
) -> Float64[np.ndarray, "set k dim"]:
    """Points of the set, each chosen in proportion to its squared distance from those before."""
    sets = np.arange(len(points))
    chosen = points[sets, random.integers(points.shape[1], size=len(points))][:, None]
    for _ in range(1, k):
        weight = _squares(points, chosen).min(axis=2).cumsum(axis=1)
        drawn = random.random((len(points), 1)) * weight[:, -1:]
        at = np.minimum((weight <= drawn).sum(axis=1), points.shape[1] - 1)
        chosen = np.concatenate([chosen, points[sets, at][:, None]], axis=1)
    return chosen


def _means(
    points: Float64[np.ndarray, "set point dim"], labels: Int64[np.ndarray, "set point"],
    before: Float64[np.ndarray, "set k dim"],
) -> Float64[np.ndarray, "set k dim"]:  # fmt: skip
    """The mean of each cluster; an empty one keeps its centre."""
    member = (labels[:, :, None] == np.arange(before.shape[1])).astype(np.float64)
    n = member.sum(axis=1)[:, :, None]
    means: np.ndarray = np.where(n > 0, member.transpose(0, 2, 1) @ points / np.maximum(n, 1), before)
    return means


def _nearest(
    points: Float64[np.ndarray, "set point dim"], centres: Float64[np.ndarray, "set k dim"]
) -> Int64[np.ndarray, "set point"]:
    nearest: np.ndarray = _squares(points, centres).argmin(axis=2)
    return nearest


def _squares(
    points: Float64[np.ndarray, "set point dim"], centres: Float64[np.ndarray, "set k dim"]
) -> Float64[np.ndarray, "set point k"]:
    """Squared distances."""
    sizes = (points**2).sum(axis=2)[:, :, None] + (centres**2).sum(axis=2)[:, None]
    squares: np.ndarray = np.maximum(sizes - 2 * points @ centres.transpose(0, 2, 1), 0.0)
    return squares
