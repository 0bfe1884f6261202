"""One pair of runs: all neurons of the same index, matches across indices, and CKA, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64

from neuron_signatures.drift.align import Aligned, SomeRows
from neuron_signatures.drift.matches import MOST_DRAWS, Standardised, correlations, matched, null_of_best
from neuron_signatures.drift.measures import Halves, Profile, jaccard, other_indices, pearson, profile
from neuron_signatures.drift.request import CompareRequest
from neuron_signatures.drift.similarity import Resampling, Similarity, similarity
from neuron_signatures.runs.comparisons.folder import ALL_LAYERS, DRIFT, TABLES
from neuron_signatures.runs.progress import Bar
from neuron_signatures.stats.cka import gram

WeightChanges = Callable[[int, int, int], Mapping[str, tuple[np.ndarray, np.ndarray]]]
"""Run a, run b and layer to cosine and norm ratio, by kind of weight."""


@dataclass(frozen=True)
class Pair:
    """What was found for one pair."""

    drift: list[pd.DataFrame] = field(default_factory=list)
    matches: list[pd.DataFrame] = field(default_factory=list)
    similarity: dict[int, Similarity] = field(default_factory=dict)
    """By layer."""
    permuted_pearson: list[np.ndarray] = field(default_factory=list)
    """With a random other index, by layer and within it by draw; the same for Jaccard."""
    permuted_jaccard: list[np.ndarray] = field(default_factory=list)

    def drop_null(self) -> None:
        """Free the draws, which are larger than all else."""
        self.permuted_pearson.clear()
        self.permuted_jaccard.clear()


class Setting(NamedTuple):
    """What is the same for all pairs."""

    aligned: Aligned
    request: CompareRequest
    some: SomeRows
    """The tokens of CKA."""
    resampling: Resampling
    halves: dict[int, Halves]
    """Of the reference, by layer."""
    weight_changes: WeightChanges | None


def compare_pair(a: int, b: int, setting: Setting, bar: Bar) -> Pair:
    """One layer of both runs is in memory at a time, and two matrices of all tokens over all layers."""
    aligned, found = setting.aligned, Pair()
    n = len(setting.some.rows)
    sums = (np.zeros((n, n)), np.zeros((n, n)))
    for layer in aligned.layers:
        first, second = (aligned.acts(run, layer) for run in (a, b))
        _compare_neurons(a, b, layer, first, second, setting, found)
        grams = (gram(first[setting.some.rows]), gram(second[setting.some.rows]))
        found.similarity[layer] = similarity(*grams, setting.resampling)
        for total, part in zip(sums, grams, strict=True):
            total += part  # the Gram matrix of the columns of all layers side by side
        bar.advance(1)
    found.similarity[ALL_LAYERS] = similarity(*sums, setting.resampling)
    return found


def _compare_neurons(
    a: int, b: int, layer: int, first: Float32[np.ndarray, "token a"], second: Float32[np.ndarray, "token b"],
    setting: Setting, found: Pair,
) -> None:  # fmt: skip
    request = setting.request
    rng = np.random.default_rng([request.drawn.seed, 4, a, b, layer])
    same_width = first.shape[1] == second.shape[1]
    matches = request.matches and b == setting.aligned.reference
    if not same_width and not matches:
        return
    x, y = Standardised.of(first), Standardised.of(second)
    table = correlations(x, y)
    if same_width:
        k = min(request.jaccard_k, len(first))
        profiles = [profile(acts, k=k, fires_above=request.fires_above) for acts in (first, second)]
        found.drift.append(_drift(a, b, layer, first, second, profiles, setting))
        _permute(table, profiles, request.drawn.n_draws, rng, found)
    if matches:
        high = null_of_best(x, y, n_draws=min(request.drawn.n_draws, MOST_DRAWS), rng=rng)
        rows = matched(first, second, x, y, table, high)
        found.matches.append(rows.assign(a=a, b=b, layer=layer))


def _drift(
    a: int, b: int, layer: int, first: Float32[np.ndarray, "token neuron"],
    second: Float32[np.ndarray, "token neuron"], profiles: list[Profile], setting: Setting,
) -> pd.DataFrame:  # fmt: skip
    """Rows of `drift` for one layer."""
    p, q = profiles
    halves = setting.halves[layer]
    out = {
        "a": a, "b": b, "layer": layer, "neuron": np.arange(len(p.mean)), "pearson": pearson(first, second),
        "jaccard": jaccard(p.strongest, q.strongest),
        "mean_a": p.mean, "mean_b": q.mean, "mean_z": _z(p.mean, q.mean, halves.mean),
        "std_a": p.std, "std_b": q.std, "std_z": _z(p.std, q.std, halves.std),
        "rate_a": p.rate, "rate_b": q.rate, "rate_z": _z(p.rate, q.rate, halves.rate),
    }  # fmt: skip
    changed = setting.weight_changes(a, b, layer) if setting.weight_changes else {}
    for kind, (cosine, ratio) in changed.items():
        out |= {f"cos_{kind}": cosine, f"norm_ratio_{kind}": ratio}
    return pd.DataFrame(out).reindex(columns=list(TABLES[DRIFT].columns))


def _z(
    a: Float64[np.ndarray, " neuron"], b: Float64[np.ndarray, " neuron"], spread: Float64[np.ndarray, " neuron"]
) -> Float64[np.ndarray, " neuron"]:
    """NaN where the halves do not differ either."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, (b - a) / spread, np.nan)


def _permute(
    table: Float32[np.ndarray, "a b"], profiles: list[Profile], n_draws: int,
    rng: np.random.Generator, found: Pair,
) -> None:  # fmt: skip
    """Pearson and Jaccard of each neuron of b with a random other index of a, some draws."""
    p, q = profiles
    varies = ~(p.constant | q.constant)
    for _ in range(n_draws):
        order = other_indices(len(varies), rng)
        both = varies & ~p.constant[order]
        found.permuted_pearson.append(table[order, np.arange(len(order))][both])
        found.permuted_jaccard.append(jaccard(p.strongest[:, order], q.strongest).astype(np.float32))
