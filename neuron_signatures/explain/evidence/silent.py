"""Windows that look as if the neuron should be active in them, and where it is silent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32

from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.evidence import NEARLY_ZERO
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.sample import Sample
from neuron_signatures.scoring.texts import SIGN

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to vectors, float32 [text, dim]."""
_STRONG = 0.5
"""Share of its largest activation in the sample from which a window is one of a neighbour's."""


class WindowVectors:
    """Embeddings of whole windows, each made once. Share it between neurons: their sampled windows are the same."""

    def __init__(self, corpus: Corpus, embed: Embed) -> None:
        self._corpus, self._embed = corpus, embed
        self._vectors: dict[int, np.ndarray] = {}

    def of(self, windows: Sequence[int]) -> Float32[np.ndarray, "window dim"]:
        """Unit vectors, in the order of the windows."""
        new = sorted(set(windows) - self._vectors.keys())
        if new:
            texts = ["".join(self._corpus.strings(self._corpus.token_ids(w))) for w in new]
            vectors = np.asarray(self._embed(texts), np.float32)
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            self._vectors |= dict(zip(new, vectors / np.maximum(lengths, np.float32(1e-12)), strict=True))
        return np.stack([self._vectors[w] for w in windows])


def silent_windows(sample: Sample, largest: float) -> list[int]:
    """Sampled windows without any activation, of either sign, above a tenth of `largest` where positions count."""
    strength = np.where(sample.counts, np.abs(sample.acts), 0.0)
    if not len(sample.windows):
        return []
    peaks = np.maximum.reduceat(strength, sample.starts[:-1])
    return [int(w) for w in sample.windows[peaks <= NEARLY_ZERO * largest]]


def nearest_silent(strongest: Sequence[int], silent: Sequence[int], vectors: WindowVectors, n: int) -> list[int]:
    """The silent windows that are most like any of the strongest by cosine, the most alike first, ties by window."""
    if not strongest or not silent or n < 1:
        return []
    alike = (vectors.of(silent) @ vectors.of(strongest).T).max(axis=1)
    order = sorted(range(len(silent)), key=lambda i: (-float(alike[i]), silent[i]))
    return [silent[i] for i in order[:n]]


def neighbours_windows(records: Records, neighbours: Sequence[NeuronPole]) -> list[int]:
    """Sampled windows of `explain` in which other neurons are strong; the neurons take turns, strongest first."""
    lists = []
    for at in neighbours:
        sample = records.sample(at.layer, at.neuron, parts=("explain",))
        strength = SIGN[at.pole] * sample.peaks(SIGN[at.pole])[1]
        order = np.argsort(-strength, kind="stable")
        least = max(_STRONG * float(strength.max(initial=0.0)), 1e-12)
        lists.append([int(sample.windows[i]) for i in order if strength[i] >= least])
    turns = (found[i] for i in range(max(map(len, lists), default=0)) for found in lists if i < len(found))
    return list(dict.fromkeys(turns))
