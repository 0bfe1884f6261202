"""CKA of two runs by layer, with its interval over prompts and its null; and the steps between checkpoints."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from neuron_signatures.drift.measures import SMALLEST
from neuron_signatures.stats.cka import Grouped, cka, grouped, permuted_cka, weighted_cka


class Similarity(NamedTuple):
    """Of one pair and layer: the columns of `models` from `cka` on, and the bootstrap draws of the debiased CKA."""

    row: dict[str, float | int]
    draws: Float64[np.ndarray, " draw"]


class Resampling(NamedTuple):
    """What the estimates are resampled with; the same for all pairs and layers, so that draws can be subtracted."""

    starts: Int[np.ndarray, " prompt"]
    """The first row of each prompt."""
    weights: Float64[np.ndarray, "draw prompt"]
    """How often each prompt is drawn."""
    n_draws: int
    seed: int


def resampling(starts: Int[np.ndarray, " prompt"], *, n_draws: int, seed: int) -> Resampling:
    n = len(starts)
    weights = np.random.default_rng([seed, 1]).multinomial(n, np.full(n, 1 / n), size=n_draws).astype(np.float64)
    return Resampling(starts, weights, n_draws, seed)


def similarity(
    gram_a: Float64[np.ndarray, "token token"], gram_b: Float64[np.ndarray, "token token"], how: Resampling
) -> Similarity:
    """Of two Gram matrices. NaN where undefined; no interval with fewer than four prompts."""
    found = cka(gram_a, gram_b)
    null = permuted_cka(gram_a, gram_b, n_draws=how.n_draws, rng=np.random.default_rng([how.seed, 2]))
    draws = np.full(how.n_draws, np.nan)
    if len(how.starts) >= SMALLEST:
        sums = [_sums(x, y, how) for x, y in ((gram_a, gram_b), (gram_a, gram_a), (gram_b, gram_b))]
        draws = weighted_cka(sums[0], sums[1], sums[2], how.weights)
    defined = not np.isnan(found.debiased)
    low, high = np.nanpercentile(draws, [2.5, 97.5]) if not np.isnan(draws).all() else (np.nan, np.nan)
    return Similarity({
        "cka": found.biased, "debiased_cka": found.debiased, "low": float(low), "high": float(high),
        "null_mean": float(null.mean()), "null_sd": float(null.std(ddof=1)),
        "p": float((1 + (null >= found.debiased).sum()) / (1 + len(null))) if defined else np.nan,
        "n_null": len(null), "n_tokens": len(gram_a),
    }, draws)  # fmt: skip


def _sums(a: np.ndarray, b: np.ndarray, how: Resampling) -> Grouped:
    return grouped(a, b, how.starts)


def steps(found: dict[tuple[int, int], Similarity], order: list[int], reference: int) -> pd.DataFrame:
    """The change of the debiased CKA to the reference from each run to the next, the reference itself being 1.

    `found` is by run and layer. The intervals and the share of draws in which a step is the largest are of the same
    bootstrap draws of prompts.
    """
    rows = []
    for layer in dict.fromkeys(layer for _, layer in found):
        series = [_point(found, run, layer, reference) for run in order]
        values, draws = (np.array([getattr(s, name) for s in series]) for name in ("value", "draws"))
        change, changes = np.diff(values), np.diff(draws, axis=0)
        whole = ~np.isnan(changes).any(axis=0)
        largest = np.abs(changes[:, whole]).argmax(axis=0) if whole.any() and len(changes) else np.empty(0, int)
        for i, (a, b) in enumerate(pairwise(order)):
            low, high = np.percentile(changes[i, whole], [2.5, 97.5]) if whole.any() else (np.nan, np.nan)
            rows.append({
                "a": a, "b": b, "layer": layer, "change": change[i], "low": low, "high": high,
                "largest_share": float((largest == i).mean()) if len(largest) else np.nan,
            })  # fmt: skip
    return pd.DataFrame(rows, columns=["a", "b", "layer", "change", "low", "high", "largest_share"])


class _Point(NamedTuple):
    value: float
    draws: np.ndarray


def _point(found: dict[tuple[int, int], Similarity], run: int, layer: int, reference: int) -> _Point:
    if run == reference:
        return _Point(1.0, np.ones(len(next(iter(found.values())).draws)))
    one = found[run, layer]
    return _Point(float(one.row["debiased_cka"]), one.draws)
