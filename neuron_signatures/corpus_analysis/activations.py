"""Activations of many neurons at tokens of the corpus, in blocks: from the model, or from the stored sample.

A source can be read several times and then gives the same tokens in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from neuron_signatures.corpus_analysis.choice import Pairs
from neuron_signatures.corpus_analysis.passes import CorpusPass, PassBatch
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import DTYPE_BYTES, Dtype
from neuron_signatures.runs.progress import Bar
from neuron_signatures.runs.records.names import Part
from neuron_signatures.runs.records.reader import Records


class Slab(NamedTuple):
    """Some columns of a block; columns are neurons in the order of `Source.neurons`."""

    columns: slice
    values: Float[Tensor, "token column"]


@runtime_checkable
class TokenBlock(Protocol):
    """Some tokens and the activations of all neurons there."""

    @property
    def windows(self) -> Int64[np.ndarray, " token"]: ...

    @property
    def token_ids(self) -> Int64[np.ndarray, " token"]: ...

    def slabs(self) -> Iterator[Slab]:
        """The activations, some columns at a time; float32."""


@runtime_checkable
class Source(Protocol):
    """Where activations come from."""

    @property
    def neurons(self) -> Pairs:
        """The columns of its blocks."""

    def blocks(self) -> Iterator[TokenBlock]:
        """All tokens that count, whole windows at a time."""


class Scale(NamedTuple):
    """By which activations are standardised: recorded mean and standard deviation, 1 where there is no spread."""

    mean: Float32[np.ndarray, " neuron"]
    sd: Float32[np.ndarray, " neuron"]
    varies: np.ndarray
    """Whether the neuron has a spread; bool."""

    def standardised(self, slab: Slab) -> Float[Tensor, "token column"]:
        """(activation - mean) / standard deviation, on the device of the slab."""
        mean, sd = (torch.from_numpy(a[slab.columns]).to(slab.values.device) for a in (self.mean, self.sd))
        return (slab.values - mean) / sd


def recorded_scale(records: Records, neurons: Pairs, parts: Sequence[Part] = ("explain",)) -> Scale:
    """Mean and standard deviation of these neurons over the parts."""
    mean, sd = np.empty(len(neurons)), np.empty(len(neurons))
    for layer in np.unique(neurons[:, 0]).tolist():
        rows = neurons[:, 0] == layer
        moments = records.layer_moments(layer, parts=parts)
        mean[rows], sd[rows] = moments.mean[neurons[rows, 1]], moments.std[neurons[rows, 1]]
    varies = np.isfinite(sd) & (sd > 1e-6 * np.maximum(1e-30, np.abs(mean)))
    varies &= np.isfinite(mean)
    return Scale(np.where(varies, mean, 0).astype(np.float32), np.where(varies, sd, 1).astype(np.float32), varies)


class ModelSource:
    """All neurons of the layers of an open pass, at the tokens of these windows."""

    def __init__(self, corpus_pass: CorpusPass, windows: Int64[np.ndarray, " window"], bar: Bar | None = None) -> None:
        """`bar` has the tokens of one reading as its total; every further reading extends it."""
        self.corpus_pass, self.windows, self._bar = corpus_pass, windows, bar
        self._n_read = 0

    @property
    def neurons(self) -> Pairs:
        n = self.corpus_pass.n_units
        return np.array([(layer, i) for layer in self.corpus_pass.layers for i in range(n)], np.int64)

    @property
    def n_tokens(self) -> int:
        """Tokens that the model reads, without BOS."""
        return int(self.corpus_pass.corpus.window_length[self.windows].sum())

    def blocks(self) -> Iterator[TokenBlock]:
        if self._bar is not None and self._n_read:
            self._bar.extend(self.n_tokens)
        self._n_read += 1
        for batch in self.corpus_pass.batches(self.windows, self._bar):
            yield _BatchBlock(batch, self.corpus_pass.n_units)


class _BatchBlock:
    def __init__(self, batch: PassBatch, width: int) -> None:
        self._batch, self._width = batch, width
        self.windows, self.token_ids = batch.counted_windows, batch.counted_ids

    def slabs(self) -> Iterator[Slab]:
        for row in range(len(self._batch.layers)):
            yield Slab(slice(row * self._width, (row + 1) * self._width), self._batch.counted(row))


@dataclass(frozen=True, eq=False)
class StoredSource:
    """The sampled neurons at the tokens of the stored sample; no model is needed."""

    neurons: Pairs
    windows: Int64[np.ndarray, " window"]
    block: _StoredBlock

    def blocks(self) -> Iterator[TokenBlock]:
        yield self.block


class _StoredBlock(NamedTuple):
    windows: Int64[np.ndarray, " token"]
    token_ids: Int64[np.ndarray, " token"]
    values: Float[Tensor, "token column"]

    def slabs(self) -> Iterator[Slab]:
        yield Slab(slice(0, self.values.shape[1]), self.values)


def stored_source(records: Records, neurons: Pairs, parts: Sequence[Part] = ("explain",)) -> StoredSource:
    """The stored activations of these neurons in windows where those of all of them are finite.

    Raises `UsageError` for a neuron that is not in the sample, and for neurons whose samples have no windows in common
    (imported records have a sample for each neuron).
    """
    samples = [records.sample(layer, neuron, parts=parts) for layer, neuron in neurons.tolist()]
    common = samples[0].windows
    for sample in samples[1:]:
        common = np.intersect1d(common, sample.windows)
    if not len(common):
        what = "the sampled neurons have no windows in common"
        raise UsageError(what, where=str(records.path), next_step="Use --candidates all")
    counts = [np.repeat(np.isin(s.windows, common), np.diff(s.starts)) & s.counts for s in samples]
    values = np.stack([s.acts[c] for s, c in zip(samples, counts, strict=True)], axis=1)
    first = samples[0]
    windows = np.repeat(first.windows, np.diff(first.starts))[counts[0]].astype(np.int64)
    ids = first.token_ids[counts[0]].astype(np.int64)
    return StoredSource(neurons, common.astype(np.int64), _StoredBlock(windows, ids, torch.from_numpy(values)))


class CachedSource:
    """Another source, read once if its activations fit into `most_bytes`."""

    def __init__(self, source: ModelSource, most_bytes: int) -> None:
        self._source = source
        dtype = source.corpus_pass.model.spec.dtype
        self._keep = source_bytes(len(source.neurons), source.n_tokens, dtype) <= most_bytes
        self._blocks: list[TokenBlock] | None = None

    @property
    def neurons(self) -> Pairs:
        return self._source.neurons

    def blocks(self) -> Iterator[TokenBlock]:
        if self._blocks is not None:
            yield from self._blocks
            return
        kept: list[TokenBlock] = []
        for block in self._source.blocks():
            if self._keep:
                kept.append(block)
            yield block
        self._blocks = kept if self._keep else None


def source_bytes(n_neurons: int, n_tokens: int, dtype: Dtype) -> int:
    """Memory that the activations take."""
    return n_neurons * n_tokens * DTYPE_BYTES[dtype]
