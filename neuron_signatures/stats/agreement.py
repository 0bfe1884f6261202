"""Agreement of two raters who put the same items into categories: Cohen's kappa, with intervals and a null.

Cohen 1960: kappa = (agreement - chance) / (1 - chance), where chance is the agreement of two raters who use the
categories as often as these two do, but independently. 1 is full agreement, 0 is chance. It is undefined where chance
is 1: both raters put everything into one category.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy import stats  # type: ignore[import-untyped]

LEAST_DEFINED = 0.5
"""Share of the draws of a bootstrap in which a statistic must be defined for an interval."""


class Agreement(NamedTuple):
    """None where undefined. `low` to `high`: 95 % bootstrap interval of kappa. `null_sd` and `p` (one-sided) are of
    kappa with the answers of one rater permuted."""

    n: int
    agreement: float | None
    chance: float | None
    kappa: float | None
    low: float | None
    high: float | None
    null_sd: float | None
    p: float | None


class Separation(NamedTuple):
    """The AUROC of numbers for a yes against a no, with its 95 % bootstrap interval; None where undefined."""

    n: int
    auroc: float | None
    low: float | None
    high: float | None


def agreement(
    a: Int64[np.ndarray, " item"], b: Int64[np.ndarray, " item"], cluster: Int64[np.ndarray, " item"], *,
    n_categories: int, n_draws: int, n_null: int, rng: np.random.Generator,
) -> Agreement:  # fmt: skip
    """Of categories numbered from 0. The bootstrap draws clusters (items that are not independent, from 0)."""
    n = len(a)
    if not n:
        return Agreement(0, None, None, None, None, None, None, None)
    cell = a * n_categories + b
    n_clusters = int(cluster.max()) + 1
    tables = np.zeros((n_clusters, n_categories**2))
    np.add.at(tables, (cluster, cell), 1.0)
    observed, chance, kappa = _kappas(tables.sum(0)[None], n_categories)
    drawn = _weights(n_clusters, n_draws, rng) @ tables
    low, high = _percentiles(_kappas(drawn, n_categories)[2])
    null = np.zeros((n_null, n_categories**2))
    for i in range(n_null):
        null[i] = np.bincount(a * n_categories + rng.permutation(b), minlength=n_categories**2)
    nulls = _kappas(null, n_categories)[2]
    if np.isnan(kappa[0]):
        return Agreement(n, float(observed[0]), float(chance[0]), None, None, None, None, None)
    p = (1 + int((nulls >= kappa[0] - 1e-12).sum())) / (1 + n_null) if n_null else None
    sd = float(nulls.std(ddof=1)) if n_null > 1 else None
    return Agreement(n, float(observed[0]), float(chance[0]), float(kappa[0]), low, high, sd, p)


def separation(
    values: Float64[np.ndarray, " item"], yes: Int64[np.ndarray, " item"], cluster: Int64[np.ndarray, " item"], *,
    n_draws: int, rng: np.random.Generator,
) -> Separation:  # fmt: skip
    """The probability that a yes (1) has a larger value than a no (0), ties half. The bootstrap draws clusters."""
    n = len(values)
    found = _auroc(values, yes)
    if found is None:
        return Separation(n, None, None, None)
    members = [np.flatnonzero(cluster == c) for c in np.unique(cluster)]
    draws = np.full(n_draws, np.nan)
    for i in range(n_draws):
        rows = np.concatenate([members[c] for c in rng.integers(len(members), size=len(members))])
        value = _auroc(values[rows], yes[rows])
        draws[i] = np.nan if value is None else value
    low, high = _percentiles(draws)
    return Separation(n, found, low, high)


def _auroc(values: np.ndarray, yes: np.ndarray) -> float | None:
    n_yes = int(yes.sum())
    n_no = len(yes) - n_yes
    if not n_yes or not n_no:
        return None
    rank_sum = float(stats.rankdata(values)[yes == 1].sum())
    return (rank_sum - n_yes * (n_yes + 1) / 2) / (n_yes * n_no)


def _kappas(
    tables: Float64[np.ndarray, "draw cell"], n_categories: int
) -> tuple[Float64[np.ndarray, " draw"], Float64[np.ndarray, " draw"], Float64[np.ndarray, " draw"]]:
    """Agreement, chance and kappa of each table of counts; kappa is NaN where it is undefined."""
    shares = tables.reshape(-1, n_categories, n_categories)
    shares = shares / shares.sum((1, 2), keepdims=True)
    observed = np.trace(shares, axis1=1, axis2=2)
    chance = (shares.sum(2) * shares.sum(1)).sum(1)
    room = 1 - chance
    kappa = np.divide(observed - chance, room, out=np.full_like(room, np.nan), where=room > 1e-12)
    return observed, chance, kappa


def _weights(n: int, n_draws: int, rng: np.random.Generator) -> Float64[np.ndarray, "draw cluster"]:
    return rng.multinomial(n, np.full(n, 1 / n), size=n_draws).astype(np.float64)


def _percentiles(draws: Float64[np.ndarray, " draw"]) -> tuple[float | None, float | None]:
    defined = draws[~np.isnan(draws)]
    if not len(draws) or len(defined) < LEAST_DEFINED * len(draws):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
