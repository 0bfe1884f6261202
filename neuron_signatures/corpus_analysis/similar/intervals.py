"""Confidence intervals of correlations whose tokens are not independent: documents are the units that vary.

r is a smooth function of means over tokens; its influence at a token is ab - r (a² + b²)/2 with a, b standardised. The
variance of r is that of the influences' sums over documents (the delta method with clusters), and the interval is made
on the scale of atanh(r), where it is nearly symmetric.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64

from neuron_signatures.corpus_analysis.activations import Scale, Source
from neuron_signatures.corpus_analysis.similar.correlate import Stream, gather

MOST_GROUPS: Final = 512
"""Documents are put into at most so many groups."""
FEWEST_GROUPS: Final = 10
"""Documents below which there is no interval."""
_Z: Final = 1.959963984540054
_PAIRS: Final = 1 << 12


class Intervals(NamedTuple):
    """95 % intervals; NaN with too few documents or an undefined r."""

    low: Float64[np.ndarray, " pair"]
    high: Float64[np.ndarray, " pair"]


def correlation_intervals(
    source: Source, scale: Scale, stream: Stream, pairs: Int64[np.ndarray, "pair 2"], r: Float64[np.ndarray, " pair"],
    document: Int64[np.ndarray, " window"],
) -> Intervals:  # fmt: skip
    """Of the correlations `r` of pairs of columns, in one reading of the source. `document` is that of every window of
    the corpus."""
    columns, where = np.unique(pairs, return_inverse=True)
    where = where.reshape(pairs.shape)
    of_window = _groups(stream.windows, document)
    n_groups = int(of_window.max(initial=-1)) + 1
    sums = np.zeros((n_groups, len(pairs)))
    mean, sd = stream.mean[columns], np.sqrt(stream.variance[columns])
    for block in source.blocks():
        z = (gather(block, scale, columns).double().numpy() - mean) / sd
        groups = torch.from_numpy(of_window[block.windows])
        for start in range(0, len(pairs), _PAIRS):
            some = slice(start, start + _PAIRS)
            a, b = z[:, where[some, 0]], z[:, where[some, 1]]
            influence = torch.from_numpy(a * b - r[some] / 2 * (a**2 + b**2))
            of_groups = torch.zeros(n_groups, influence.shape[1], dtype=torch.float64)
            sums[:, some] += of_groups.index_add_(0, groups, influence).numpy()
    if n_groups < FEWEST_GROUPS:
        return Intervals(*np.full((2, len(pairs)), np.nan))
    error = np.sqrt(n_groups / (n_groups - 1) * ((sums - sums.mean(axis=0)) ** 2).sum(axis=0)) / stream.n
    inside = np.clip(r, -1 + 1e-12, 1 - 1e-12)
    half = _Z * error / (1 - inside**2)
    exact = np.abs(r) >= 1 - 1e-9
    low, high = np.tanh(np.arctanh(inside) - half), np.tanh(np.arctanh(inside) + half)
    return Intervals(np.where(exact, r, low), np.where(exact, r, high))


def _groups(windows: Int64[np.ndarray, " token"], document: Int64[np.ndarray, " window"]) -> Int64[np.ndarray, " w"]:
    """The group of each window of the corpus: that of its document; -1 for windows that are not in the stream."""
    found = np.full(len(document), -1, np.int64)
    used = np.unique(windows)
    _, place = np.unique(document[used], return_inverse=True)
    found[used] = place.reshape(-1) % MOST_GROUPS
    return found
