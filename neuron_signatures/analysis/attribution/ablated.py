"""Ablates many neurons, one by one, with progress and a file of the finished ones, alone or in shards."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuron_signatures.analysis.attribution.estimators.ablation import single_ablations
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import Bar, ProgressOf
from neuron_signatures.runs.sharding.files import ShardState
from neuron_signatures.runs.sharding.shard import Shard, items_of

log = logging.getLogger(__name__)

_SPAN = "batches"


@dataclass(frozen=True)
class SingleAblations:
    """Each of the `wanted` neurons, rows (layer, pos, neuron), is set to its entry in `values`, alone; `batch` is
    copies per forward pass."""

    problem: Problem
    neurons: Int[Tensor, "n 3"]
    wanted: Bool[Tensor, " n"]
    values: Float[Tensor, " n"]
    batch: int

    def measure(self, partial: Partial, progress: ProgressOf) -> Float[Tensor, " n"]:
        """The effects; NaN for neurons that are not wanted.

        `partial` stores the finished ones, so that an interrupted run can resume.
        """
        return torch.from_numpy(self._measured(partial, {}, progress)["effects"])

    def measure_shard(self, partial: Partial, shard: Shard, progress: ProgressOf) -> int:
        """Measure the neurons of a shard and store them in a file of its own. Returns their number.

        Shards hold whole batches, so the effects are bit for bit those of one process on the same kind of device.
        """
        own = self._of(shard)
        stored = partial.of_shard(shard)
        stored.save_now(own._measured(stored, {_SPAN: self._span(shard)}, progress))
        return int(own.wanted.sum())

    def join_shards(self, partial: Partial) -> None:
        """Store the effects of all shards in `partial`, as if one process had measured them.

        Raises `UsageError` if shards are missing, unfinished, of other settings or of another split.
        """
        files = partial.shard_files()
        like = {**self._nothing(), _SPAN: np.zeros(2, np.int64)}
        found: dict[Shard, Mapping[str, np.ndarray]] = {}

        def read(shard: Shard) -> ShardState:
            arrays = found[shard] = partial.of_shard(shard).load(max_bytes=_bytes(like), like=like) or like
            first, stop = arrays[_SPAN].tolist()
            wanted = self._of(shard).wanted.numpy()
            fits = [first, stop] == self._span(shard).tolist() and np.array_equal(arrays["done"], wanted)
            return ShardState({}, first, stop, finished=fits)

        measured = self._nothing()
        for shard in files.complete(read):
            done = found[shard]["done"]
            measured["effects"][done] = found[shard]["effects"][done]
            measured["done"] |= done
        partial.save_now(measured)

    def _measured(self, partial: Partial, own: Mapping[str, np.ndarray], progress: ProgressOf) -> dict[str, np.ndarray]:
        """The effects, which of them are done, and the arrays `own`, which are stored beside them."""
        measured = {**self._nothing(), **own}
        effects, done = (torch.from_numpy(measured[name]) for name in ("effects", "done"))  # they share memory
        n = int(self.wanted.sum())
        with (
            progress("ablations", n) as bar,
            partial.save_on_error(lambda: measured if done.any() else {}),
        ):
            _resume(measured, partial, bar, n, unless_other=tuple(own))
            chunks = single_ablations(
                self.problem, self.neurons, values=self.values, done=done | ~self.wanted, batch=self.batch
            )
            for chunk in chunks:
                effects[chunk.rows] = chunk.effects
                done[chunk.rows] = True
                partial.save(measured)
                bar.advance(len(chunk.rows))
        return measured

    def _nothing(self) -> dict[str, np.ndarray]:
        n = len(self.neurons)
        return {"effects": np.full(n, np.nan, np.float32), "done": np.zeros(n, np.bool_)}

    def _of(self, shard: Shard) -> SingleAblations:
        first, stop = self._span(shard).tolist()
        wanted = torch.zeros_like(self.wanted)
        wanted[[row for batch in self._batches[first:stop] for row in batch]] = True
        return replace(self, wanted=wanted)

    def _span(self, shard: Shard) -> np.ndarray:
        """The first batch of a shard and the one after its last. The work of a batch is that of the layers from its
        first neuron on."""
        n_layers = int(self.neurons[:, 0].max()) + 1
        work = [len(batch) * (n_layers - int(self.neurons[batch[0], 0])) for batch in self._batches]
        own = items_of(work, shard)
        return np.array([own.start, own.stop], np.int64)

    @cached_property
    def _batches(self) -> list[list[int]]:
        """The rows that `single_ablations` puts into one forward pass."""
        rows = self.wanted.nonzero()[:, 0]
        found = []
        for pos in sorted(set(self.neurons[rows, 1].tolist())):
            here = rows[self.neurons[rows, 1] == pos].tolist()
            found += [here[i : i + self.batch] for i in range(0, len(here), self.batch)]
        return found


def _resume(
    measured: dict[str, np.ndarray], partial: Partial, bar: Bar, n_wanted: int, *, unless_other: Collection[str]
) -> None:
    """Fill in the effects that an earlier process measured, unless its arrays of these names are others."""
    before = partial.load(max_bytes=_bytes(measured), like=measured)
    if before and not all(np.array_equal(before[name], measured[name]) for name in unless_other):
        log.warning("the stored ablations are of another shard; starting again")
        return
    for name, values in before.items():
        measured[name][:] = values
    if before:
        n = int(measured["done"].sum())
        bar.skip(n)
        log.info("resuming with %d of %d ablations done", n, n_wanted)


def _bytes(arrays: Mapping[str, np.ndarray]) -> int:
    return sum(a.nbytes for a in arrays.values()) + (1 << 16)
