"""95 % percentile intervals of scores by a bootstrap over documents.

Positions of a document are not independent, so whole documents are drawn. No draw looks at positions again: sums (or
counts) per document are enough for all scores but Spearman's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.scoring.measures.flat import Flat

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

MOST_VALUES = 200
"""Predictions of active positions that the intervals of AUROC and average precision tell apart. If there are more, they
are grouped by quantiles for the interval (not for the score)."""
_VALUES_AT_A_TIME = 1 << 22
_ROUNDING = 1e-12
"""Share of the whole sample's spread below which the spread of a draw is taken as 0."""


class Interval(NamedTuple):
    """95 % percentile interval. None for both where it is undefined, such as without draws that have a value, or not
    wanted."""

    low: float | None
    high: float | None


NO_INTERVAL = Interval(None, None)


def percentiles(values: Float64[np.ndarray, " draw"]) -> Interval:
    """Of the defined draws."""
    defined: Bool[np.ndarray, " draw"] = np.isfinite(values)
    if not defined.any():
        return NO_INTERVAL
    low, high = np.percentile(values[defined], [2.5, 97.5])
    return Interval(float(low), float(high))


class Bootstrap:
    """Draws of the documents of one sample of positions. All its intervals are from the same draws.

    A draw in which a score is undefined (for example without an active position) does not enter its interval.
    """

    def __init__(self, n_documents: int, *, n_draws: int, seed: Sequence[int]) -> None:
        self.weights: Float64[np.ndarray, "draw document"] | None = None
        if n_documents > 1 and n_draws > 0:
            self.weights = _document_weights(n_documents, n_draws, np.random.default_rng(list(seed)))

    def pearson(self, x: np.ndarray, y: np.ndarray, documents: np.ndarray) -> Interval:
        """Of Pearson's r of x and y."""
        x, y = x - x.mean(), y - y.mean()
        found = self._sums([np.ones(len(x)), x, y, x * x, y * y, x * y], documents)
        if found is None:
            return NO_INTERVAL
        n, sx, sy, sxx, syy, sxy = found
        in_x, in_y = sxx - sx * sx / n, syy - sy * sy / n
        varies = (in_x > _ROUNDING * (x @ x)) & (in_y > _ROUNDING * (y @ y))
        r = (sxy - sx * sy / n)[varies] / np.sqrt(in_x[varies] * in_y[varies])
        return percentiles(np.clip(r, -1, 1))

    def explained(self, errors: np.ndarray, total: np.ndarray, documents: np.ndarray) -> Interval:
        """Of 1 - sum(errors) / sum(total)."""
        found = self._sums([errors, total], documents)
        if found is None:
            return NO_INTERVAL
        with np.errstate(divide="ignore", invalid="ignore"):
            return percentiles(1 - found[0] / found[1])

    def classes(self, active: np.ndarray, predicted: np.ndarray, documents: np.ndarray) -> dict[str, Interval]:
        """Of `f1`, `iou` and `balanced_accuracy`."""
        groups = (active & predicted, ~active & predicted, active & ~predicted, ~active & ~predicted)
        found = self._sums([g.astype(np.float64) for g in groups], documents)
        if found is None:
            return dict.fromkeys(("f1", "iou", "balanced_accuracy"), NO_INTERVAL)
        both, only_predicted, only_active, neither = found
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "f1": percentiles(2 * both / (2 * both + only_predicted + only_active)),
                "iou": percentiles(both / (both + only_predicted + only_active)),
                "balanced_accuracy": percentiles(
                    (both / (both + only_active) + neither / (neither + only_predicted)) / 2
                ),
            }

    def ranking(self, flat: Flat) -> tuple[Interval, Interval]:
        """Of average precision and of AUROC. Exact for up to `MOST_VALUES` distinct predictions of active positions."""
        if self.weights is None or not flat.active.any():
            return NO_INTERVAL, NO_INTERVAL
        positive, negative = (drawn.astype(np.float64) for drawn in self._binned(flat))
        here, below = negative[:, 1::2], np.cumsum(negative, axis=1)[:, 1::2] - negative[:, 1::2]
        n_positive, n_negative = positive.sum(1), negative.sum(1)
        at_least = np.cumsum(positive[:, ::-1], axis=1)[:, ::-1]
        named = at_least + n_negative[:, None] - below
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(positive > 0, at_least / named, 0.0)
            average = (positive * precision).sum(1) / n_positive
            auroc = (positive * (below + here / 2)).sum(1) / (n_positive * n_negative)
        return percentiles(average), percentiles(auroc)

    def spearman(self, x: np.ndarray, y: np.ndarray, documents: np.ndarray) -> Interval:
        """Of Spearman's rho; the ranks are those within each draw, so that it takes longer than the others."""
        if self.weights is None:
            return NO_INTERVAL
        size = max(1, _VALUES_AT_A_TIME // max(1, len(x)))
        parts = [self.weights[i : i + size][:, documents] for i in range(0, len(self.weights), size)]
        return percentiles(np.concatenate([_weighted_r(_mid_ranks(x, w), _mid_ranks(y, w), w) for w in parts]))

    def _sums(self, columns: Sequence[np.ndarray], documents: np.ndarray) -> Sequence[np.ndarray] | None:
        """The sum of each column in each draw; None without draws."""
        if self.weights is None:
            return None
        n = self.weights.shape[1]
        return list((self.weights @ np.stack([np.bincount(documents, c, minlength=n) for c in columns], axis=1)).T)

    def _binned(self, flat: Flat) -> tuple[np.ndarray, np.ndarray]:
        """Per draw the number of active positions by value of their prediction, ascending, and of the others by twice
        as many bins and one: those between two values, and those equal to one.

        Only where an active position enters does the precision count, so the other predictions need no bins.
        """
        assert self.weights is not None
        prediction, weights = flat.prediction, self.weights.astype(np.float32)
        values = np.unique(prediction[flat.active])
        if len(values) > MOST_VALUES:
            edges = np.quantile(prediction[flat.active], np.linspace(0, 1, MOST_VALUES)[1:])
            prediction = np.searchsorted(np.unique(edges), prediction).astype(np.float64)
            values = np.unique(prediction[flat.active])
        bins = np.searchsorted(values, prediction, "left") + np.searchsorted(values, prediction, "right")
        drawn = [
            weights @ _table(flat.documents[where], bins[where], weights.shape[1], 2 * len(values) + 1)
            for where in (flat.active, ~flat.active)
        ]
        return drawn[0][:, 1::2], drawn[1]


def _document_weights(n: int, n_draws: int, random: np.random.Generator) -> Float64[np.ndarray, "draw document"]:
    """How often each document is in each draw of n. As `stats.bootstrap_weights`, ten times faster."""
    drawn = random.integers(n, size=(n_draws, n), dtype=np.int32) + np.arange(0, n_draws * n, n)[:, None]
    return np.bincount(drawn.ravel(), minlength=n_draws * n).reshape(n_draws, n).astype(np.float64)


def _table(documents: np.ndarray, bins: np.ndarray, n_documents: int, n_bins: int) -> np.ndarray:
    counts = np.bincount(documents * n_bins + bins, minlength=n_documents * n_bins)
    return counts.reshape(n_documents, n_bins).astype(np.float32)


def _mid_ranks(values: np.ndarray, weights: Float64[np.ndarray, "draw n"]) -> Float64[np.ndarray, "draw n"]:
    """Ranks in samples that hold each value as often as it weighs, ties with their mean."""
    which = np.unique(values, return_inverse=True)[1].reshape(-1)
    order = np.argsort(which, kind="stable")
    starts = np.flatnonzero(np.diff(which[order], prepend=-1))
    size = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks: np.ndarray = (np.cumsum(size, axis=1) - size + (size + 1) / 2)[:, which]
    return ranks


def _weighted_r(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    n = weights.sum(1, keepdims=True)
    x = x - (weights * x).sum(1, keepdims=True) / n
    y = y - (weights * y).sum(1, keepdims=True) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        r: np.ndarray = (weights * x * y).sum(1) / np.sqrt((weights * x * x).sum(1) * (weights * y * y).sum(1))
    return r
