"""Neurons described by the contexts of their strongest windows.

Without a sentence model a context is embedded by latent semantic analysis (Deerwester and others 1990): the tokens
around the peak, weighted by how rare they are, on the strongest directions of the contexts of all neurons.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy import sparse  # type: ignore[import-untyped]

from neuron_signatures.corpus_analysis.choice import Pairs
from neuron_signatures.corpus_analysis.clusters.basis import unit
from neuron_signatures.corpus_analysis.lists import strongest_lists
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import PARTS
from neuron_signatures.runs.records.reader import Records

REACH: Final = 5
"""Tokens on both sides of the peak."""
DIMENSIONS: Final = 100


class Places(NamedTuple):
    """Different peaks: windows and positions; `of` has the peak of each entry of a list, -1 after its end."""

    window: Int64[np.ndarray, " peak"]
    pos: Int64[np.ndarray, " peak"]
    of: Int64[np.ndarray, "neuron rank"]


class ExemplarBasis:
    """The mean embedding of each neuron's contexts, less that of all. A bootstrap draws windows of each list."""

    def __init__(self, embedded: Float64[np.ndarray, "peak dim"], of: Int64[np.ndarray, "neuron rank"]) -> None:
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
    lists = strongest_lists(records, layers, PARTS[0])
    row = np.array([layers.index(layer) * records.d_mlp + n for layer, n in neurons.tolist()], np.int64)
    stronger = np.abs(lists.value[row, :, 0]).argmax(axis=1)
    window, pos = lists.window[row, stronger], lists.pos[row, stronger]
    there = window >= 0
    stacked = np.stack([window[there], pos[there]], axis=1)
    different, of = np.unique(stacked, axis=0, return_inverse=True)
    found = np.full(window.shape, -1, np.int64)
    found[there] = of.reshape(-1)
    return Places(different[:, 0], different[:, 1], found)


def latent_semantics(corpus: Corpus, places: Places, *, seed: int) -> Float64[np.ndarray, "peak dim"]:
    """Unit vectors of the contexts; 0 for a context whose tokens are in no other."""
    from sklearn.decomposition import TruncatedSVD

    rows, ids = [], []
    for i, (window, pos) in enumerate(zip(places.window.tolist(), places.pos.tolist(), strict=True)):
        tokens = corpus.token_ids(window)[max(0, pos - REACH) : pos + REACH + 1]
        rows.append(np.full(len(tokens), i))
        ids.append(tokens.astype(np.int64))
    _, columns = np.unique(np.concatenate(ids), return_inverse=True)
    shape = (len(places.window), int(columns.max()) + 1)
    counts = sparse.csr_array((np.ones(len(columns)), (np.concatenate(rows), columns)), shape=shape)
    counts.sum_duplicates()
    counts.data[:] = 1
    frequency = counts.sum(axis=0)
    rarity = np.where(frequency > 1, np.log(shape[0] / np.maximum(frequency, 1)), 0.0)
    weighted = sparse.csr_array(counts * rarity[None, :])
    lengths = np.sqrt((weighted * weighted).sum(axis=1))
    weighted = sparse.csr_array(weighted * (1 / np.where(lengths > 0, lengths, 1))[:, None])
    n = min(DIMENSIONS, min(shape) - 1)
    return unit(TruncatedSVD(n, random_state=seed).fit_transform(weighted)) if n >= 1 else np.zeros((shape[0], 1))
