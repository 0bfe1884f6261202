"""Layer-matched random sets, and how a set compares with them. No model.

The p-value is sequential (Besag and Clifford 1991, "Sequential Monte Carlo p-values"): random sets are drawn until
h = 10 of them keep at least as much as the set, and then p = h / n. If that has not happened after N sets, it is the
usual (1 + b) / (1 + N), with b sets that keep at least as much. So a ranking that is no better than chance needs few
sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

ENOUGH = 10
"""h: random sets that keep at least as much, after which no more are drawn."""


@dataclass(frozen=True)
class Control:
    """A set of `k` neurons against layer-matched random sets of its size.

    `observed`, `random_mean`, `random_std`, `low` and `high` (5th and 95th percentile) are faithfulness. `exceeded` of
    the `n_random` sets drawn keep at least as much, within rounding; `z` is the distance of the set from their mean in
    standard deviations, None if they do not vary. p is 1 for a set of whole layers, the only match of itself.
    """

    k: int
    observed: float
    random_mean: float
    random_std: float
    low: float
    high: float
    n_random: int
    exceeded: int
    p: float
    z: float | None


def control(k: int, observed: float, random: Iterable[float], *, n_random: int, tolerance: float) -> Control:
    """Compare `observed` with the values of at most `n_random` random sets, which are taken until it is decided.

    Values within `tolerance` count as equal.
    """
    values: list[float] = []
    exceeded = 0
    for value in random:
        values.append(value)
        exceeded += value >= observed - tolerance
        if exceeded == ENOUGH or len(values) == n_random:
            break
    stopped = exceeded == ENOUGH
    low, high = np.percentile(values, [5, 95])
    mean, spread = float(np.mean(values)), float(np.std(values))
    return Control(
        k=k,
        observed=observed,
        random_mean=mean,
        random_std=spread,
        low=float(low),
        high=float(high),
        n_random=len(values),
        exceeded=int(exceeded),
        p=ENOUGH / len(values) if stopped else (1 + exceeded) / (1 + n_random),
        z=(observed - mean) / spread if spread > tolerance else None,
    )


def takes_whole_layers(members: Bool[Tensor, "layer *unit"]) -> bool:
    """Whether the set consists of whole layers, so that no other set is layer-matched to it."""
    flat = members.flatten(1)
    return bool((flat.all(1) | ~flat.any(1)).all())


def layer_matched(
    members: Bool[Tensor, "layer *unit"], rng: np.random.Generator
) -> Iterator[Bool[Tensor, "layer *unit"]]:
    """Random sets without end, with as many units of each layer as `members`: neurons, or neurons at positions."""
    flat = members.flatten(1)
    counts, width = flat.sum(1).tolist(), flat.shape[1]
    while True:
        drawn = torch.zeros_like(flat)
        for layer, count in enumerate(counts):
            if count:
                drawn[layer, torch.from_numpy(rng.choice(width, size=count, replace=False))] = True
        yield drawn.view(members.shape)
