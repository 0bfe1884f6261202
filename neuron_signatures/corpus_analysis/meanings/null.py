"""Windows of random neurons: the null of the number of meanings, and the distance that divides groups.

A draw takes as many windows as the neuron has: each from the list of a random recorded neuron of the same pole, no
window twice. It shows a neuron without a meaning of its own that has the habits of all neurons (common windows, common
tokens). A neuron whose diversity is far below it and near 1 has one meaning; between both it has several.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from neuron_signatures.corpus_analysis.contexts import Contexts
from neuron_signatures.corpus_analysis.meanings.groups import diversity, group_windows, measure
from neuron_signatures.runs.records.names import Pole


class Pool(NamedTuple):
    """Windows of random neurons of one pole: one window of each, embedded."""

    window: Int64[np.ndarray, " entry"]
    embedded: Float32[np.ndarray, "entry dim"]


class Null(NamedTuple):
    """Draws of one number of windows."""

    diversity: Float64[np.ndarray, " draw"]
    effective_number: Float64[np.ndarray, " draw"]

    def p(self, value: float) -> float:
        """Two-sided: twice the share of the draws that are at least as far on the same side, the neuron included."""
        n = len(self.diversity)
        low, high = (1 + (self.diversity <= value).sum()) / (1 + n), (1 + (self.diversity >= value).sum()) / (1 + n)
        return float(min(1.0, 2 * min(low, high)))


def threshold_of(contexts: Contexts, pools: list[Pool], quantile: float) -> float:
    """The quantile of the distances of two different windows of random neurons of the same pole."""
    every = [np.empty(0, np.float32)]
    for pool in pools:
        apart = contexts.distances(pool.embedded, pool.embedded)
        other = pool.window[:, None] != pool.window[None, :]
        every.append(apart[np.triu(other, 1)])
    flat = np.concatenate(every)
    # a threshold of 0 would divide equal contexts
    return max(float(np.quantile(flat, quantile)), 1e-6) if len(flat) else 1e-6


class Nulls:
    """Draws for each pole and number of windows, made when they are asked for; equal seeds give equal draws."""

    def __init__(
        self, contexts: Contexts, pools: dict[Pole, Pool], threshold: float, *, n_draws: int, seed: int
    ) -> None:
        self._contexts, self._pools, self._threshold = contexts, pools, threshold
        self._n_draws, self._seed = n_draws, seed
        self._known: dict[tuple[Pole, int], Null] = {}

    def of(self, pole: Pole, n_windows: int) -> Null | None:
        """None where random neurons do not have so many different windows."""
        key = pole, n_windows
        pool = self._pools[pole]
        if key not in self._known:
            if len(np.unique(pool.window)) < n_windows:
                return None
            self._known[key] = self._draw(pool, n_windows, np.random.default_rng([self._seed, n_windows, pole == "+"]))
        return self._known[key]

    def _draw(self, pool: Pool, n: int, rng: np.random.Generator) -> Null:
        found = np.empty((self._n_draws, 2))
        for row in found:
            order = rng.permutation(len(pool.window))
            _, first = np.unique(pool.window[order], return_index=True)
            embedded = pool.embedded[order[np.sort(first)[:n]]]
            apart = self._contexts.distances(embedded, embedded)
            np.fill_diagonal(apart, 0)
            row[:] = diversity(apart), measure(apart, group_windows(apart, self._threshold)).effective_number
        return Null(found[:, 0], found[:, 1])
