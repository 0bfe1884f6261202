"""The sample of windows in which the chosen neurons have all activations, and the rows of their strongest windows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.checked_arrays import check_neurons, check_starts, damaged, open_checked
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.meta import SampleMeta
from neuron_signatures.runs.records.names import PARTS, RECORDS, ROWS, SAMPLE, Part

_OWN = "sampled"


@dataclass(frozen=True, eq=False)
class Sample:
    """One neuron's activations in sampled windows. The flat arrays hold the windows one after the other."""

    windows: np.ndarray
    """Numbers of the windows, ascending."""
    starts: np.ndarray
    """Where each window starts in the flat arrays, and their length."""
    token_ids: np.ndarray
    acts: np.ndarray
    counts: np.ndarray
    """Whether a position counts."""

    def acts_of(self, i: int) -> np.ndarray:
        """All activations of the window in place `i`, a view; those of positions that do not count too."""
        return self.acts[self.starts[i] : self.starts[i + 1]]

    @cached_property
    def rows(self) -> list[np.ndarray]:
        """`acts_of` every window."""
        return [self.acts_of(i) for i in range(len(self.windows))]

    def peaks(self, sign: int) -> tuple[np.ndarray, np.ndarray]:
        """Per window the position (in the window) of the largest `sign * act` that counts, and the activation there.

        Ties go to the first position.
        """
        strength = np.where(self.counts, sign * self.acts, -np.inf)
        pos = [int(np.argmax(strength[a:b])) for a, b in zip(self.starts[:-1], self.starts[1:], strict=True)]
        found = np.array(pos, np.int64)
        return found, self.acts[self.starts[:-1] + found]


class SampleFiles:
    """The open files of the chosen neurons.

    `not_finite` are the layers with windows in which an activation is NaN or infinite; in others that is damage.
    """

    def __init__(self, run_dir: Path, meta: SampleMeta, corpus: Corpus, not_finite: Collection[int] = ()) -> None:
        self._run_dir, self._meta, self._corpus, self._not_finite = run_dir, meta, corpus, not_finite

    def close(self) -> None:
        for name in ("_sample", "_rows"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    @cached_property
    def neurons(self) -> dict[tuple[int, int], int]:
        """Layer and neuron, and its place in the arrays."""
        found = self._sample.read("neurons")
        check_neurons(found, path=self._path(SAMPLE))
        return {(layer, neuron): i for i, (layer, neuron) in enumerate(found.tolist())}

    def of(self, place: int, parts: Sequence[Part]) -> Sample:
        """The sample of the neuron in this place, in windows of these parts.

        Windows in which an activation is NaN or infinite are left out, as in the records of all neurons.
        """
        whole = self._own_sample(place) if self._has_own_samples else self._common_sample(place)
        acts, corpus = whole.acts, self._corpus
        part = corpus.document_part[corpus.window_document[whole.windows]]
        lengths = np.diff(whole.starts)
        finite = np.logical_and.reduceat(np.isfinite(acts), whole.starts[:-1]) if len(lengths) else np.empty(0, bool)
        kept = np.isin(part, [PARTS.index(p) for p in parts]) & finite
        flat = np.repeat(kept, lengths)
        starts = np.concatenate([[0], np.cumsum(lengths[kept])])
        return Sample(whole.windows[kept], starts, whole.token_ids[flat], acts[flat], whole.counts[flat])

    def _common_sample(self, place: int) -> Sample:
        """All sampled windows, which are the same for all neurons."""
        acts = self._sample.read("acts", place)
        layer = int(self._sample.rows("neurons", place, place + 1)[0, 0])
        if layer not in self._not_finite and not np.isfinite(acts).all():
            raise damaged(self._path(SAMPLE), "has a value that is not finite")
        return replace(self._frame, acts=acts)

    def _own_sample(self, place: int) -> Sample:
        """The rows that are marked as sampled: imported records have another sample for each neuron."""
        first, last = (int(n) for n in self._first_row[place : place + 2])
        windows = self._windows_of_rows(first, last)
        windows = windows[self._rows.rows(_OWN, first, last) > 0]
        rows = [row for row in self.rows_of(place, windows.tolist()) if row is not None]
        starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
        return replace(self._texts(windows, starts), acts=np.concatenate([np.empty(0, np.float32), *rows]))

    def check(self) -> None:
        """Raise `BadRunError` if anything in the files cannot be."""
        for place in self.neurons.values():
            self.of(place, PARTS)
            first, last = (int(n) for n in self._first_row[place : place + 2])
            self.rows_of(place, self._windows_of_rows(first, last).tolist())

    def rows_of(self, place: int, windows: Sequence[int]) -> list[np.ndarray | None]:
        """The activations of a neuron in some of its strongest windows; None where they are not stored."""
        first, last = (int(n) for n in self._first_row[place : place + 2])
        stored = self._windows_of_rows(first, last)
        starts = self._rows.rows("start", first, last + 1)
        at = np.searchsorted(stored, windows)
        return [
            self._row(w, int(starts[i]), int(starts[i + 1])) if i < len(stored) and stored[i] == w else None
            for w, i in zip(windows, at.tolist(), strict=True)
        ]

    def _row(self, window: int, start: int, stop: int) -> np.ndarray:
        size, total = int(self._corpus.window_length[window]), self._rows.shape("acts")[0]
        if not 0 <= start <= stop <= total or stop - start != size:
            raise damaged(self._path(ROWS), f"has {stop - start} values for window {window} of {size} tokens")
        acts = self._rows.rows("acts", start, stop)
        if not np.isfinite(acts).all():
            raise damaged(self._path(ROWS), "has a value that is not finite")
        return acts

    def _windows_of_rows(self, first: int, last: int) -> np.ndarray:
        windows = self._rows.rows("window", first, last)
        ascending = (np.diff(windows) > 0).all()
        if len(windows) and (not ascending or windows[0] < 0 or windows[-1] >= self._corpus.n_windows):
            raise damaged(self._path(ROWS), "its windows do not ascend, or are not in the corpus")
        return windows

    @cached_property
    def _sample(self) -> ArrayFile:
        n, m = self._meta.n_neurons, self._meta.n_windows
        shapes = {
            "neurons": ("i4", (n, 2)),
            "windows": ("i4", (m,)),
            "starts": ("i8", (m + 1,)),
            "acts": ("f4", (n, None)),
        }
        return open_checked(self._path(SAMPLE), shapes)

    @cached_property
    def _rows(self) -> ArrayFile:
        n, m = self._meta.n_neurons, self._meta.n_rows
        shapes = {
            "neurons": ("i4", (n, 2)),
            "first_row": ("i8", (n + 1,)),
            "window": ("i4", (m,)),
            "start": ("i8", (m + 1,)),
            "acts": ("f4", (None,)),
        }
        return open_checked(self._path(ROWS), shapes)

    @cached_property
    def _has_own_samples(self) -> bool:
        if _OWN not in set(self._rows.keys()):
            return False
        if self._rows.shape(_OWN) != (self._meta.n_rows,) or self._rows.dtype(_OWN) != np.uint8:
            raise damaged(self._path(ROWS), f"{_OWN} is not one byte per row")
        return True

    @cached_property
    def _first_row(self) -> np.ndarray:
        path = self._path(ROWS)
        first = self._rows.read("first_row")
        check_starts(first, self._meta.n_rows, key="first_row", path=path)
        if not np.array_equal(self._rows.read("neurons"), self._sample.read("neurons")):
            raise damaged(path, "has other neurons than the sample")
        return first

    @cached_property
    def _frame(self) -> Sample:
        """What is the same for all neurons; `acts` is empty."""
        path, corpus = self._path(SAMPLE), self._corpus
        windows, starts = self._sample.read("windows"), self._sample.read("starts")
        check_starts(starts, self._sample.shape("acts")[1], key="starts", path=path)
        if len(windows) and (windows[0] < 0 or windows[-1] >= corpus.n_windows or (np.diff(windows) <= 0).any()):
            raise damaged(path, "its windows do not ascend, or are not in the corpus")
        if not np.array_equal(np.diff(starts), corpus.window_length[windows]):
            raise damaged(path, "its windows have other lengths than in the corpus")
        return self._texts(windows, starts)

    def _texts(self, windows: np.ndarray, starts: np.ndarray) -> Sample:
        """The windows' tokens, and which positions count; `acts` is empty."""
        corpus = self._corpus
        ids = [corpus.token_ids(int(w)) for w in windows]
        flat = np.concatenate(ids) if ids else np.empty(0, np.int32)
        pos = np.arange(len(flat)) - np.repeat(starts[:-1], np.diff(starts))
        counts = pos >= np.repeat(corpus.window_counted_from[windows], np.diff(starts))
        return Sample(windows, starts, flat, np.empty(0, np.float32), counts)

    def _path(self, name: str) -> Path:
        return inside(self._run_dir, f"{RECORDS}/{name}")
