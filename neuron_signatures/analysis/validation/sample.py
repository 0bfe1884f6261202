"""Which neurons are ablated alone to estimate how well rankings agree with ablation.

A quarter of the sample are the first of every ranking, all of them. Three eighths are drawn from the next tenth of the
rankings. The rest are drawn from all others, layer by layer in proportion to the layer. So the few neurons with large
effects, which decide Pearson's correlation, are measured, and the many others have known probabilities to be drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.stats.stratified import Strata

_TOP_SHARE, _NEXT_SHARE = 0.25, 0.375
_NEXT_TENTH = 0.1
_LEAST_OF_LAYER = 2  # one draw has no spread


@dataclass(frozen=True)
class Sample:
    """The sampled rows of the population, ascending, and their strata."""

    rows: Int64[np.ndarray, " n"]
    strata: Strata


def draw_sample(
    rankings: Sequence[Float64[np.ndarray, " row"]],
    layer_of: Int64[np.ndarray, " row"],
    n: int,
    rng: np.random.Generator,
) -> Sample:
    """`n` rows of the population, by the scores of every ranking; without rankings, drawn layer by layer.

    Raises `UsageError` as `refuse_small_sample` does.
    """
    layers = np.unique(layer_of)
    refuse_small_sample(n, len(layers))
    place = _best_place(rankings, len(layer_of))
    by_place = np.argsort(place, kind="stable")
    n_top, n_next = (int(share * n) if rankings else 0 for share in (_TOP_SHARE, _NEXT_SHARE))
    top, others = by_place[:n_top], by_place[n_top:]
    n_middle = max(n_next, int(_NEXT_TENTH * len(others))) if rankings else 0
    middle, rest = others[:n_middle], others[n_middle:]
    of_layer = [rest[layer_of[rest] == layer] for layer in layers]
    shares = _shares(n - n_top - n_next, [len(pool) for pool in of_layer])
    pools = [(top, n_top), (middle, n_next), *zip(of_layer, shares, strict=True)]
    drawn = [rng.choice(pool, size=k, replace=False) for pool, k in pools]
    rows = np.concatenate(drawn)
    stratum = np.repeat(np.arange(len(pools)), [k for _, k in pools])
    order = np.argsort(rows)
    return Sample(rows[order], Strata(stratum[order], np.array([len(pool) for pool, _ in pools])))


def refuse_small_sample(n: int, n_layers: int) -> None:
    """Raise `UsageError` if a sample of n has fewer than two draws of each layer."""
    least = math.ceil(_LEAST_OF_LAYER * n_layers / (1 - _TOP_SHARE - _NEXT_SHARE))
    if n < least:
        what = f"{n} is too small a sample of {n_layers} layers"
        raise UsageError(what, where="--sample", next_step=f"Give at least {least}, or all")


def _best_place(rankings: Sequence[Float64[np.ndarray, " row"]], n: int) -> Int64[np.ndarray, " row"]:
    """The place of each row in the ranking by |score| that puts it highest; 0 without rankings."""
    best = np.full(n, n if rankings else 0)
    for scores in rankings:
        place = np.empty(n, np.int64)
        place[np.argsort(-np.abs(scores), kind="stable")] = np.arange(n)
        best = np.minimum(best, place)
    return best


def _shares(n: int, sizes: Sequence[int]) -> list[int]:
    """`n` draws in proportion to the sizes, at least two of each where there are two; none exceeds its size."""
    least = np.minimum(_LEAST_OF_LAYER, sizes)
    left, free = n - int(least.sum()), np.array(sizes) - least
    exact = left * free / max(int(free.sum()), 1)
    extra = np.floor(exact).astype(np.int64)
    first = np.argsort(-(exact - extra), kind="stable")[: left - int(extra.sum())]
    extra[first] += 1
    return [int(k) for k in least + extra]
