"""One sparse probe and what it is compared with: logistic regression with an L1 penalty along a path of penalties."""

from __future__ import annotations

import warnings
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from neuron_signatures.stats.proportions import wilson

_Z: Final = 1.959964
_WEAKEST: Final = 0.01
"""The smallest penalty of a path, relative to the smallest one without any unit."""
_DRAWS: Final = 500


class Fit(NamedTuple):
    """A probe at one penalty."""

    penalty: float
    n_units: int
    says: Bool[np.ndarray, " held_out"]


class BestUnit(NamedTuple):
    """The single unit and threshold that are best on `find`, and what they reach on `held_out`."""

    unit: int
    accuracy: float
    iou: float


def path(
    values: Float64[np.ndarray, "observation unit"], labels: Bool[np.ndarray, " observation"], n_find: int,
    n_penalties: int,
) -> list[Fit]:  # fmt: skip
    """Fitted on the first `n_find` observations, standardised by them; both classes weigh the same."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    z = standardised(values, n_find)
    find, held, y = z[:n_find], z[n_find:], labels[:n_find]
    smallest = _smallest_c(find, y)
    found = []
    for relative in np.geomspace(0.7, _WEAKEST, n_penalties):
        model = LogisticRegression(
            solver="liblinear", l1_ratio=1.0, C=smallest / relative, class_weight="balanced", random_state=0,
            tol=1e-3, max_iter=200, intercept_scaling=1.0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(find, y)
        found.append(Fit(float(relative), int(np.count_nonzero(model.coef_)), model.decision_function(held) > 0))
    return found


def standardised(values: Float64[np.ndarray, "observation unit"], n_find: int) -> Float64[np.ndarray, "..."]:
    """Mean 0 and standard deviation 1 on the first `n_find` observations."""
    mean, sd = values[:n_find].mean(axis=0), values[:n_find].std(axis=0)
    z: np.ndarray = (values - mean) / np.where(sd > 0, sd, 1)
    return z


def by_means(
    values: Float64[np.ndarray, "observation unit"], labels: Bool[np.ndarray, " observation"], n_find: int, n: int
) -> Bool[np.ndarray, " held_out"]:
    """Without a probe: the sum of the first `n` units, each with the sign of its difference of class means, is nearer
    to the mean of the class than to that of the others."""
    z, y = standardised(values[:, :n], n_find), labels[:n_find]
    sign = np.sign(z[:n_find][y].mean(axis=0) - z[:n_find][~y].mean(axis=0))
    score = z @ sign
    middle = (score[:n_find][y].mean() + score[:n_find][~y].mean()) / 2
    says: np.ndarray = score[n_find:] > middle
    return says


def best_unit(
    values: Float64[np.ndarray, "observation unit"], labels: Bool[np.ndarray, " observation"], n_find: int
) -> BestUnit:
    """Above its threshold, the unit says that the observation is of the class."""
    find, y = values[:n_find], labels[:n_find]
    order = np.argsort(-find, axis=0, kind="stable")
    ordered = np.take_along_axis(find, order, axis=0)
    hits, misses = np.cumsum(y[order], axis=0) / y.sum(), np.cumsum(~y[order], axis=0) / (~y).sum()
    ends = np.concatenate([ordered[1:] < ordered[:-1], np.ones((1, find.shape[1]), bool)])
    gain = np.where(ends, hits - misses, -1)
    at = gain.argmax(axis=0)
    unit = int(gain.max(axis=0).argmax())
    row = int(at[unit])
    below = ordered[row + 1, unit] if row + 1 < n_find else ordered[row, unit] - 1
    says, true = values[n_find:, unit] > (ordered[row, unit] + below) / 2, labels[n_find:]
    union = int((says | true).sum())
    return BestUnit(unit, balanced_accuracy(says, true), int((says & true).sum()) / union if union else float("nan"))


def balanced_accuracy(says: Bool[np.ndarray, " n"], true: Bool[np.ndarray, " n"]) -> float:
    """Mean of the recall of both labels; NaN if one of them does not occur."""
    if true.all() or not true.any():
        return float("nan")
    return float((says[true].mean() + (~says[~true]).mean()) / 2)


def accuracy_interval(
    says: Bool[np.ndarray, " n"], true: Bool[np.ndarray, " n"], clusters: Int64[np.ndarray, " n"], seed: int
) -> tuple[float, float]:
    """95 % of the balanced accuracy: Wilson's intervals of both recalls combined (Zou and Donner 2008), or, if some
    observations share a cluster, a bootstrap over clusters."""
    value = balanced_accuracy(says, true)
    if not np.isfinite(value):
        return float("nan"), float("nan")
    names, of = np.unique(clusters, return_inverse=True)
    if len(names) == len(says):
        right = np.array([int(says[true].sum()), int((~says[~true]).sum())])
        n = np.array([int(true.sum()), int((~true).sum())])
        low, high = wilson(right, n, _Z)
        share = right / n
        return value - float(np.hypot(*(share - low))) / 2, value + float(np.hypot(*(high - share))) / 2
    counts = np.stack([
        np.bincount(of, weights=w, minlength=len(names))
        for w in (says & true, true, ~says & ~true, ~true)
    ])  # fmt: skip
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=_DRAWS)
    hit, n_in, rejected, n_out = counts @ times.T
    some = (n_in > 0) & (n_out > 0)
    drawn = (hit[some] / n_in[some] + rejected[some] / n_out[some]) / 2
    low_draw, high_draw = np.percentile(drawn, [2.5, 97.5])
    return float(low_draw), float(high_draw)


def _smallest_c(find: Float64[np.ndarray, "observation unit"], y: Bool[np.ndarray, " observation"]) -> float:
    """The largest C at which all coefficients are 0, with balanced weights (then the intercept is 0, too)."""
    n = len(y)
    weights = np.where(y, n / (2 * y.sum()), n / (2 * (~y).sum()))
    gradient = (weights * (np.where(y, 1.0, -1.0) / 2)) @ find
    return 1 / max(float(np.abs(gradient).max()), 1e-12)
