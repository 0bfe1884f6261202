"""From finished states to the records of all neurons: lists, moments, histograms and one row per neuron."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64

from neuron_signatures.records.corpus.scattered import tokens_at
from neuron_signatures.records.pass1.bins import N_MAGNITUDES, edges
from neuron_signatures.records.pass1.layer import LayerRecords
from neuron_signatures.records.pass1.state import merged_layers
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import PARTS
from neuron_signatures.runs.records.writing import HistogramArrays, MomentArrays, StrongestArrays

DEAD_BELOW, NEARLY_DEAD_BELOW = 0.01, 0.1
"""A neuron is dead if its largest |activation| is at most this share of the median neuron's of its layer, or 0."""
OFTEN = 5
"""Tokens that are named as those at which a neuron is most often strongest."""
RATE_SHARE = 0.1
"""`rate_above` counts activations of at least this share of the neuron's largest |activation|, in whole bins."""

_EXPLAIN = PARTS.index("explain")
_NO_TOKEN = -1
_FIRST_RANKS = 20  # windows by which a list is judged


class AllNeurons(NamedTuple):
    """What the first pass gives. `left_out` are windows that were not finite, by layer; `n_first_position` neurons are
    strongest at the first position that counts (`_at_first_position`)."""

    strongest: StrongestArrays
    moments: MomentArrays
    histograms: HistogramArrays
    table: pd.DataFrame
    left_out: dict[str, int]
    n_first_position: int


def merge_states(run_dir: Path, names: Sequence[str], layers: Sequence[int], corpus: Corpus) -> AllNeurons:
    """Merge the states of all shards of a pass, whose settings have been compared.

    Memory is that of the result, 10 bytes per entry of a list, and of one layer at work.
    """
    strongest, moments, counts = _Layers(len(layers)), _Layers(len(layers)), _Layers(len(layers))
    tables = []
    left_out: dict[str, int] = {}
    n_first = 0
    for layer, found in zip(layers, merged_layers(run_dir, names, len(layers), corpus), strict=True):
        lists, central = _lists(found), central_moments(found)
        histogram = found.histogram.permute(1, 0, 2).numpy().astype(np.uint32)
        strongest.add(lists)
        moments.add(central)
        counts.add([histogram])
        tables.append(_table(layer, lists, central, histogram, corpus))
        n_first += int(_at_first_position(lists, corpus).sum())
        left_out |= {str(layer): found.left_out} if found.left_out else {}
    return AllNeurons(
        StrongestArrays(*strongest.arrays),
        MomentArrays(*moments.arrays),
        HistogramArrays(edges(), *counts.arrays),
        pd.concat(tables, ignore_index=True),
        left_out,
        n_first,
    )


class _Layers:
    """Arrays of all layers, filled one layer after the other. (`np.stack` would need them twice.)"""

    def __init__(self, n: int) -> None:
        self.arrays: list[np.ndarray] = []
        self._n, self._row = n, 0

    def add(self, of_layer: Sequence[np.ndarray]) -> None:
        self.arrays = self.arrays or [np.empty((self._n, *a.shape), a.dtype) for a in of_layer]
        for array, added in zip(self.arrays, of_layer, strict=True):
            array[self._row] = added
        self._row += 1


class CentralMoments(NamedTuple):
    """Axes `neuron part`; zeros where nothing was counted."""

    count: np.ndarray  # type: ignore[assignment]  # hides tuple.count
    mean: Float64[np.ndarray, "neuron part"]
    m2: Float64[np.ndarray, "neuron part"]
    m3: Float64[np.ndarray, "neuron part"]
    m4: Float64[np.ndarray, "neuron part"]


def central_moments(layer: LayerRecords) -> CentralMoments:
    """Mean and central moments (averages) from the sums of powers, float64.

    Digits are lost where a neuron's mean is much larger than its standard deviation: the sums within a window are
    float32.
    """
    n_neurons = layer.sums.shape[2]
    count = np.repeat(layer.count.numpy()[None], n_neurons, axis=0)
    s1, s2, s3, s4 = layer.sums.permute(1, 2, 0).cpu().numpy() / np.maximum(count, 1)
    m2 = np.maximum(s2 - s1**2, 0.0)
    m3 = s3 - 3 * s1 * s2 + 2 * s1**3
    m4 = np.maximum(s4 - 4 * s1 * s3 + 6 * s1**2 * s2 - 3 * s1**4, 0.0)
    return CentralMoments(count, s1, m2, m3, m4)


def _lists(layer: LayerRecords) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, window and position, axes `neuron part pole rank`."""

    def stacked(name: str, sign: tuple[int, ...] = (1, 1)) -> np.ndarray:
        poles = [
            torch.stack([getattr(of, name)[:, : of.k] * sign[i] for i, of in enumerate(part)]) for part in layer.lists
        ]
        found: np.ndarray = torch.stack(poles).permute(2, 0, 1, 3).contiguous().cpu().numpy()
        return found

    window = stacked("window")
    value = np.where(window < 0, np.float32(0), stacked("value", (1, -1)) + np.float32(0))
    return value, window, stacked("pos")


def _table(
    layer: int, lists: tuple[np.ndarray, np.ndarray, np.ndarray], moments: CentralMoments, histogram: np.ndarray,
    corpus: Corpus,
) -> pd.DataFrame:  # fmt: skip
    """One row per neuron of the layer; all columns but `largest` and `state` are of the part explain."""
    value, window, pos = lists
    count, mean, m2, m3, m4 = (x[:, _EXPLAIN] for x in moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        some = np.where((count > 0) & (m2 > 0), 1.0, np.nan)
        skewness, kurtosis = m3 / m2**1.5 * some, m4 / m2**2 * some
    there = window[:, _EXPLAIN, :, 0] >= 0
    first = np.where(there, value[:, _EXPLAIN, :, 0], np.nan)
    largest = np.abs(value[..., 0]).max(axis=(1, 2))
    n, _, _, k = value.shape
    of_poles = [x[:, _EXPLAIN].transpose(1, 0, 2).reshape(-1, k) for x in (window, pos)]  # + of all neurons, then -
    texts, shares = _often(of_poles[0], of_poles[1], corpus)
    return pd.DataFrame({
        "layer": layer, "neuron": np.arange(n), "count": count,
        "mean": np.where(count > 0, mean, np.nan), "std": np.where(count > 0, np.sqrt(m2), np.nan),
        "skewness": skewness, "kurtosis": kurtosis, "max": first[:, 0], "min": first[:, 1],
        "rate_above": _rates(histogram[:, _EXPLAIN], largest), "largest": largest, "state": states(largest),
        "often_pos": texts[:n], "often_pos_share": shares[:n], "often_neg": texts[n:], "often_neg_share": shares[n:],
    })  # fmt: skip


def states(largest: np.ndarray) -> np.ndarray:
    """`dead`, `nearly dead` or `alive` of each neuron of a layer, by its largest |activation|."""
    typical = np.median(largest)
    dead = largest <= DEAD_BELOW * typical
    return np.where(dead, "dead", np.where(largest <= NEARLY_DEAD_BELOW * typical, "nearly dead", "alive"))


def _rates(histogram: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Share of the counted activations in bins from `RATE_SHARE` of the largest |activation| on; NaN of none."""
    by_magnitude = histogram[:, N_MAGNITUDES:].astype(np.int64) + histogram[:, :N_MAGNITUDES][:, ::-1]
    above = (edges()[None] >= RATE_SHARE * largest[:, None]) & (largest[:, None] > 0)
    n = by_magnitude.sum(axis=1)
    return np.where(n > 0, (by_magnitude * above).sum(axis=1) / np.maximum(n, 1), np.nan)


def _at_first_position(lists: Sequence[np.ndarray], corpus: Corpus) -> np.ndarray:
    """Per neuron, whether more than half of the strongest windows of explain, of one pole, peak where a window begins.

    Such lists show massive activations (Sun et al. 2024), not what the neuron responds to elsewhere. Values of 0 do not
    count: the list of a pole that a unit does not have is the beginnings of windows.
    """
    value, window, pos = (a[:, _EXPLAIN, :, :_FIRST_RANKS] for a in lists[:3])
    there = (window >= 0) & (value != 0)
    first = there & (pos == corpus.window_counted_from[np.maximum(window, 0)])
    return np.asarray((first.sum(axis=-1) * 2 > np.maximum(there.sum(axis=-1), 2)).any(axis=-1))


def _often(window: np.ndarray, pos: np.ndarray, corpus: Corpus) -> tuple[list[str], np.ndarray]:
    """The most common tokens at the peaks of each list as JSON, and the share of the first; axes `list rank`."""
    there = window >= 0
    ids = np.full(window.shape, _NO_TOKEN, dtype=np.int32)
    ids[there] = tokens_at(corpus, window[there], pos[there])
    most = _most_common(ids, OFTEN)
    held = most.count > 0
    used, place = np.unique(most.token[held], return_inverse=True)
    quoted = [json.dumps(text, ensure_ascii=False) for text in corpus.strings(used)]
    words, ends = [quoted[i] for i in place.tolist()], np.cumsum(held.sum(axis=1)).tolist()
    lists = [f"[{', '.join(words[start:end])}]" for start, end in itertools.pairwise([0, *ends])]
    total = there.sum(axis=1)
    return lists, np.where(total > 0, most.count[:, 0] / np.maximum(total, 1), np.nan)


class _MostCommon(NamedTuple):
    """Axes `list place`; the most common first, ties by token. `token` is -1 and `count` 0 where there is none."""

    token: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # hides tuple.count


def _most_common(ids: np.ndarray, n: int) -> _MostCommon:
    """The `n` most common ids of each row, without `_NO_TOKEN`."""
    ids = np.sort(ids, axis=1)
    begins = np.ones(ids.shape, dtype=bool)
    begins[:, 1:] = ids[:, 1:] != ids[:, :-1]
    row, column = begins.nonzero()
    count = np.diff(np.flatnonzero(begins), append=ids.size)
    count[ids[row, column] == _NO_TOKEN] = 0
    order = np.lexsort((ids[row, column], -count, row))
    row, column, count = row[order], column[order], count[order]
    rank = np.arange(len(row)) - np.searchsorted(row, np.arange(len(ids)))[row]
    chosen = (rank < n) & (count > 0)
    found = _MostCommon(np.full((len(ids), n), -1, dtype=ids.dtype), np.zeros((len(ids), n), dtype=np.int64))
    found.token[row[chosen], rank[chosen]] = ids[row[chosen], column[chosen]]
    found.count[row[chosen], rank[chosen]] = count[chosen]
    return found
