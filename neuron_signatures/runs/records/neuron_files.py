"""Reads the files of all neurons: strongest windows, moments and histograms of one neuron or layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.checked_arrays import damaged, open_checked
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.meta import RecordsMeta
from neuron_signatures.runs.records.moments import CentralMoments
from neuron_signatures.runs.records.names import HISTOGRAMS, MOMENTS, PARTS, POLES, RECORDS, STRONGEST, Part, Pole
from neuron_signatures.runs.records.windows import Pick

_MOMENTS = tuple(f.name for f in fields(CentralMoments))


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of activations on a fixed share of the windows, in bins of ascending edges."""

    edges: np.ndarray
    """float32, one more than bins: from -inf over 0 to inf. Bins above 0 hold their lower edge, bins below 0 their
    upper edge; 0 itself is in the bin above it."""
    counts: np.ndarray
    n: int
    """Values in all bins."""


@dataclass(frozen=True, eq=False)
class StrongestLists:
    """The strongest windows of neurons by pole (in the order of `POLES`) and rank. After the end of a list, `window` is
    -1, `pos` and `value` are 0."""

    window: Int64[np.ndarray, "neuron pole rank"]
    pos: Int64[np.ndarray, "neuron pole rank"]
    """Where each window has its peak."""
    value: Float32[np.ndarray, "neuron pole rank"]
    """The activation there."""


class NeuronFiles:
    """The open files of all neurons. `row` is the place of a layer in the record's `layers`."""

    def __init__(self, run_dir: Path, meta: RecordsMeta, corpus: Corpus) -> None:
        self._run_dir, self._meta, self._corpus = run_dir, meta, corpus

    def close(self) -> None:
        for name in ("_strongest", "_moments", "_histograms"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    def strongest(self, row: int, neuron: int, pole: Pole, parts: Sequence[Part], k: int) -> list[Pick]:
        """The k strongest windows over the parts together, ties by window."""
        values, windows, places = (self._strongest.read(key, row, neuron) for key in ("value", "window", "pos"))
        at, axes = POLES.index(pole), [PARTS.index(p) for p in parts]
        chosen = windows[axes, at] >= 0
        value, window, pos = (a[axes, at][chosen] for a in (values, windows, places))
        part = np.broadcast_to(np.array(axes)[:, None], chosen.shape)[chosen]
        self._check(value, window, pos, part)
        order = np.lexsort((window, -value if pole == "+" else value))[:k]
        return [Pick(int(window[i]), int(pos[i]), float(value[i])) for i in order]

    def lists(self, row: int, part: Part, k: int) -> StrongestLists:
        """The first k of every list of a layer in one part."""
        axis = PARTS.index(part)
        value, window, pos = (self._strongest.read(key, row)[:, axis, :, :k] for key in ("value", "window", "pos"))
        used = window >= 0
        self._check(value[used], window[used], pos[used], np.full(int(used.sum()), axis))
        return StrongestLists(
            np.where(used, window, -1).astype(np.int64), np.where(used, pos, 0).astype(np.int64),
            np.where(used, value, 0).astype(np.float32),
        )  # fmt: skip

    def check_layer(self, row: int) -> None:
        """Raise `BadRunError` if anything of this layer cannot be."""
        value, window, pos = (self._strongest.read(key, row) for key in ("value", "window", "pos"))
        used = window >= 0
        if (used[..., 1:] & ~used[..., :-1]).any():
            raise damaged(self._path(STRONGEST), "has an entry after the end of its list")
        part = np.broadcast_to(np.arange(len(PARTS))[:, None, None], window.shape)
        self._check(value[used], window[used], pos[used], part[used])
        strength = value * np.array([1, -1], np.float32)[:, None]
        if (used[..., 1:] & (strength[..., 1:] > strength[..., :-1])).any():
            raise damaged(self._path(STRONGEST), "has a list whose values are not in order")
        count = self.central_moments(row, PARTS).count
        _ = self._edges
        if (self._histograms.read("counts", row).sum(axis=-1, dtype=np.int64) > count).any():
            raise damaged(self._path(HISTOGRAMS), "counts more values than there are")

    def central_moments(self, row: int, parts: Sequence[Part]) -> CentralMoments:
        """Of all neurons of a layer, one column per part."""
        axes = [PARTS.index(p) for p in parts]
        found = CentralMoments(*(self._moments.read(key, row)[:, axes] for key in _MOMENTS))
        self._check_moments(found)
        return found

    def neuron_moments(self, row: int, neuron: int, parts: Sequence[Part]) -> CentralMoments:
        """Of one neuron, as a layer of one."""
        axes = [PARTS.index(p) for p in parts]
        found = CentralMoments(*(self._moments.read(key, row, neuron)[None, axes] for key in _MOMENTS))
        self._check_moments(found)
        return found

    def histogram(self, row: int, neuron: int, parts: Sequence[Part]) -> Histogram:
        axes = [PARTS.index(p) for p in parts]
        counts = self._histograms.read("counts", row, neuron)[axes].sum(axis=0, dtype=np.int64)
        return Histogram(self._edges, counts, int(counts.sum()))

    @cached_property
    def _strongest(self) -> ArrayFile:
        m = self._meta
        shape = (len(m.layers), m.d_mlp, len(PARTS), len(POLES), m.top_k)
        return open_checked(
            self._path(STRONGEST), {"value": ("f4", shape), "window": ("i4", shape), "pos": ("i2", shape)}
        )

    @cached_property
    def _moments(self) -> ArrayFile:
        shape = (len(self._meta.layers), self._meta.d_mlp, len(PARTS))
        kinds = dict.fromkeys(_MOMENTS, "f8") | {"count": "i8"}
        return open_checked(self._path(MOMENTS), {key: (kind, shape) for key, kind in kinds.items()})

    @cached_property
    def _histograms(self) -> ArrayFile:
        shape = (len(self._meta.layers), self._meta.d_mlp, len(PARTS), None)
        return open_checked(self._path(HISTOGRAMS), {"edges": ("f4", (None,)), "counts": ("u4", shape)})

    @cached_property
    def _edges(self) -> np.ndarray:
        """Of the bins, from -inf to inf."""
        file, path = self._histograms, self._path(HISTOGRAMS)
        edges = file.read("edges")
        whole = len(edges) and np.isfinite(edges).all() and edges[0] == 0 and (np.diff(edges) > 0).all()
        if not whole or file.shape("counts")[-1] != 2 * len(edges):
            raise damaged(path, "its edges do not ascend from 0, or there are not two bins for each")
        outer = np.array([np.inf], np.float32)
        return np.concatenate([-outer, -edges[:0:-1], edges, outer])

    def _path(self, name: str) -> Path:
        return inside(self._run_dir, f"{RECORDS}/{name}")

    def _check(self, value: np.ndarray, window: np.ndarray, pos: np.ndarray, part: np.ndarray) -> None:
        """Raise `BadRunError` for an entry that does not fit the corpus."""
        path, corpus = self._path(STRONGEST), self._corpus
        if (window >= corpus.n_windows).any():
            raise damaged(path, f"names window {window.max()} of {corpus.n_windows}")
        if ((pos < corpus.window_counted_from[window]) | (pos >= corpus.window_length[window])).any():
            raise damaged(path, "names a position that does not count in its window")
        if (corpus.document_part[corpus.window_document[window]] != part).any():
            raise damaged(path, "lists a window under another part than its document has")
        if not np.isfinite(value).all():
            raise damaged(path, "has a value that is not finite")

    def _check_moments(self, m: CentralMoments) -> None:
        finite = all(np.isfinite(a).all() for a in (m.mean, m.m2)) and not any(np.isinf(a).any() for a in (m.m3, m.m4))
        if not finite or (m.count < 0).any() or (m.m2 < 0).any() or (m.m4 < 0).any():
            raise damaged(self._path(MOMENTS), "has moments that no values have")
