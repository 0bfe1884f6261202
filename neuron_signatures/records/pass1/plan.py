"""What a block of windows means for the accumulators: its documents, parts, contexts and batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64

from neuron_signatures.records.corpus.blocks import BLOCK_BATCHES, Block, batches, model_inputs
from neuron_signatures.records.pass1.contexts import context_hashes
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.stats.hashes import mixed

HISTOGRAM_SHARE = 8
"""One window in so many is counted in the histograms."""
_HISTOGRAM_SALT = 1
_ROWS_ALONE = 16
"""Rows from which a group is worth its own operations on a GPU."""
_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 2048, 16384


class Group(NamedTuple):
    """Consecutive rows of a batch whose windows have the same positions that count, as positions of the input."""

    start: int
    stop: int
    first: int
    end: int


class Rows(NamedTuple):
    """Consecutive rows of a batch, and the positions of the input that count in each, `first` to `end` (excluded)."""

    start: int
    stop: int
    first: Int64[np.ndarray, " row"]
    end: Int64[np.ndarray, " row"]


@dataclass(frozen=True)
class Batch:
    """Windows that run together; `rows` are their places in the slab."""

    windows: Int64[np.ndarray, " row"]
    rows: slice
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Slab:
    """Windows of a block whose extrema are in memory together."""

    windows: Int64[np.ndarray, " window"]
    batches: tuple[Batch, ...]


@dataclass(frozen=True)
class BlockPlan:
    """A block of whole documents. `offset` is 1 if a BOS is put in front of each window, else 0."""

    corpus: Corpus
    block: Block
    batch_size: int
    offset: int
    seed: int

    @cached_property
    def windows(self) -> Int64[np.ndarray, " window"]:
        return np.arange(self.block.first_window, self.block.stop_window)

    def slabs(self) -> Iterator[Slab]:
        """The windows in the order in which they run."""
        waiting = batches(self.corpus, self.block, self.batch_size)
        for start in range(0, len(waiting), BLOCK_BATCHES):
            members = waiting[start : start + BLOCK_BATCHES]
            ends = np.cumsum([len(m) for m in members]).tolist()
            found = tuple(
                Batch(m, slice(end - len(m), end), tuple(self._groups(m))) for m, end in zip(members, ends, strict=True)
            )
            yield Slab(np.concatenate(members), found)

    def inputs(self, batch: Batch) -> list[list[int]]:
        """The token ids that the model reads."""
        return model_inputs(self.corpus, batch.windows)

    def parts(self, windows: Int64[np.ndarray, " window"]) -> Int64[np.ndarray, " window"]:
        return np.asarray(self.corpus.document_part[self.corpus.window_document[windows]], np.int64)

    def documents(self, windows: Int64[np.ndarray, " window"]) -> Int64[np.ndarray, " window"]:
        """The document of each window, as a row of the block: 0 is its first document."""
        of = self.corpus.window_document
        return np.asarray(of[windows] - of[self.block.first_window], np.int64)

    @cached_property
    def n_documents(self) -> int:
        return int(self.documents(self.windows[-1:])[0]) + 1

    @cached_property
    def document_parts(self) -> Int64[np.ndarray, " document"]:
        first = int(self.corpus.window_document[self.block.first_window])
        return self.corpus.document_part[first : first + self.n_documents].astype(np.int64)

    @cached_property
    def contexts(self) -> Int64[np.ndarray, "window pos"]:
        """`context_hashes` of the block's windows."""
        lengths = self.corpus.window_length[self.windows]
        tokens = np.full((len(self.windows), int(lengths.max())), -1, dtype=np.int64)
        for row, window in enumerate(self.windows):
            ids = self.corpus.token_ids(int(window))
            tokens[row, : len(ids)] = ids
        return context_hashes(tokens)

    def in_histogram(self, windows: Int64[np.ndarray, " window"]) -> np.ndarray:
        return in_histogram(windows, self.seed)

    def n_counted(self, windows: Int64[np.ndarray, " window"]) -> int:
        return int((self.corpus.window_length[windows] - self.corpus.window_counted_from[windows]).sum())

    def _groups(self, windows: Int64[np.ndarray, " row"]) -> Iterator[Group]:
        spans = zip(self.corpus.window_counted_from[windows], self.corpus.window_length[windows], strict=True)
        row = 0
        for (first, length), members in groupby(spans):
            n = len(list(members))
            yield Group(row, row + n, self.offset + int(first), self.offset + int(length))
            row += n


def joined(groups: Sequence[Group]) -> Iterator[Rows]:
    """Groups in fewer parts: consecutive small ones together, such as the last windows of many documents."""
    for alone, some in groupby(groups, key=lambda g: g.stop - g.start >= _ROWS_ALONE):
        members = list(some)
        for part in [[g] for g in members] if alone else [members]:
            sizes = [g.stop - g.start for g in part]
            first, end = (np.repeat([getattr(g, name) for g in part], sizes) for name in ("first", "end"))
            yield Rows(part[0].start, part[-1].stop, first, end)


def default_batch_size(device_type: str, sequence_length: int) -> int:
    """Full windows that run together on this kind of device."""
    tokens = _GPU_BATCH_TOKENS if device_type == "cuda" else _CPU_BATCH_TOKENS
    return max(1, tokens // sequence_length)


def in_histogram(windows: Int64[np.ndarray, " window"], seed: int) -> np.ndarray:
    """Whether each window is one of those that the histograms count; bool."""
    return np.asarray(mixed(windows, seed, _HISTOGRAM_SALT) % np.uint64(HISTOGRAM_SHARE) == 0)


def to_device(values: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)
