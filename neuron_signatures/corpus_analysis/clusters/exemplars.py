"""Neurons described by the contexts of their strongest windows, embedded as for their meanings (`contexts`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy import sparse  # type: ignore[import-untyped]

from neuron_signatures.corpus_analysis.choice import Pairs
from neuron_signatures.runs.records.names import PARTS
from neuron_signatures.runs.records.reader import Records


class Places(NamedTuple):
    """Different peaks: windows and positions; `of` has the peak of each entry of a list, -1 after its end."""

    window: Int64[np.ndarray, " peak"]
    pos: Int64[np.ndarray, " peak"]
    of: Int64[np.ndarray, "neuron rank"]


class ExemplarBasis:
    """The mean embedding of each neuron's contexts, less that of all. A bootstrap draws windows of each list."""

    def __init__(self, embedded: Float[np.ndarray, "peak dim"], of: Int64[np.ndarray, "neuron rank"]) -> None:
        self._embedded, self._of = embedded, of

    def features(self) -> Float64[np.ndarray, "neuron dim"]:
        return self._means((self._of >= 0).astype(np.float64))

    def resampled(self, rng: np.random.Generator) -> Float64[np.ndarray, "neuron dim"]:
        weights = np.zeros(self._of.shape)
        for row, n in enumerate((self._of >= 0).sum(axis=1).tolist()):
            if n:
                weights[row, :n] = rng.multinomial(n, np.full(n, 1 / n))
        return self._means(weights)

    def _means(self, weights: Float64[np.ndarray, "neuron rank"]) -> Float64[np.ndarray, "neuron dim"]:
        there = self._of >= 0
        rows = np.repeat(np.arange(len(self._of)), there.sum(axis=1))
        shape = (len(self._of), len(self._embedded))
        matrix = sparse.csr_array((weights[there], (rows, self._of[there])), shape=shape)
        means = (matrix @ self._embedded) / np.maximum(weights.sum(axis=1, keepdims=True), 1)
        return np.asarray(means - means.mean(axis=0))


def places_of(records: Records, neurons: Pairs) -> Places:
    """The peaks of each neuron's list in the part explain: that of the pole whose strongest window is stronger."""
    layers = np.unique(neurons[:, 0]).tolist()
    lists = records.strongest_lists(layers, PARTS[0])
    row = np.array([layers.index(layer) * records.d_mlp + n for layer, n in neurons.tolist()], np.int64)
    stronger = np.abs(lists.value[row, :, 0]).argmax(axis=1)
    window, pos = lists.window[row, stronger], lists.pos[row, stronger]
    there = window >= 0
    stacked = np.stack([window[there], pos[there]], axis=1)
    different, of = np.unique(stacked, axis=0, return_inverse=True)
    found = np.full(window.shape, -1, np.int64)
    found[there] = of.reshape(-1)
    return Places(different[:, 0], different[:, 1], found)
