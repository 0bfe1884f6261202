"""The held-out windows in which a cluster is most active, and where."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from neuron_signatures.corpus_analysis.activations import Scale, Source
from neuron_signatures.corpus_analysis.similar.correlate import gather
from neuron_signatures.runs.records.corpus import Corpus


class Peaks(NamedTuple):
    """Windows of the source, and for each cluster the position of its largest mean activation and that mean."""

    windows: Int64[np.ndarray, " window"]
    pos: Int64[np.ndarray, "window cluster"]
    value: Float64[np.ndarray, "window cluster"]

    def strongest(self, cluster: int, n: int, document: Int64[np.ndarray, " window"]) -> list[tuple[int, int]]:
        """Up to n windows of different documents with their positions, the strongest first, ties by window."""
        found: dict[int, tuple[int, int]] = {}
        for i in np.argsort(-self.value[:, cluster], kind="stable").tolist():
            window = int(self.windows[i])
            found.setdefault(int(document[window]), (window, int(self.pos[i, cluster])))
            if len(found) == n:
                break
        return list(found.values())


def find_peaks(
    source: Source, scale: Scale, columns: Int64[np.ndarray, " neuron"], weights: Float32[Tensor, "neuron cluster"],
    corpus: Corpus,
) -> Peaks:  # fmt: skip
    """Read the source once. `weights` make the activity of each cluster from its standardised neurons `columns`."""
    windows, pos, value = [], [], []
    for block in source.blocks():
        activity = (gather(block, scale, columns) @ weights).double()
        firsts = np.flatnonzero(np.diff(block.windows, prepend=-1))
        of = block.windows[firsts]
        for window, part in zip(of.tolist(), activity.split(np.diff([*firsts, len(activity)]).tolist()), strict=True):
            best = part.max(dim=0)
            windows.append(window)
            pos.append(best.indices + int(corpus.window_counted_from[window]))
            value.append(best.values)
    shape = (len(windows), weights.shape[1])
    stacked = [torch.stack(a).numpy() if a else np.zeros(shape) for a in (pos, value)]
    return Peaks(np.array(windows, np.int64), stacked[0].astype(np.int64), stacked[1])
