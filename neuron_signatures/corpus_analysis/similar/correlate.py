"""Pearson correlations of some neurons with all neurons of a source, from sums and cross products by blocks of tokens.

Activations are standardised with the recorded moments before they are multiplied, in float32; the sums are float64.
The correlation is then computed with the moments of the tokens themselves, so it does not depend on the recorded ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from neuron_signatures.corpus_analysis.activations import Scale, Source, TokenBlock
from neuron_signatures.corpus_analysis.similar.permuted import window_permutation

CROSS_BYTES: Final = 3 << 28
"""Of the cross products of one reading of the source."""
_NO_SPREAD: Final = 1e-10

Left = Callable[[TokenBlock, slice], Float[Tensor, "token column"]]
"""The standardised activations that are correlated with all neurons; the slice is the block's place in the stream."""


@dataclass(frozen=True, eq=False)
class Stream:
    """The tokens of a source: their windows, and each neuron's mean and sum of squares, standardised."""

    windows: Int64[np.ndarray, " token"]
    mean: Float64[np.ndarray, " neuron"]
    variance: Float64[np.ndarray, " neuron"]
    kept: Float[Tensor, "token kept"]
    """Standardised activations of the columns that were to be kept."""

    @property
    def n(self) -> int:
        return len(self.windows)

    def correlations(
        self, cross: Float64[np.ndarray, "column neuron"], columns: Int64[np.ndarray, " column"]
    ) -> Float64[np.ndarray, "column neuron"]:
        """Pearson's r of neurons `columns` with all, in place of the sums of products; NaN where one has no spread."""
        sd = np.sqrt(np.where(self.variance > _NO_SPREAD, self.variance, np.nan))
        for row, column in zip(cross, columns.tolist(), strict=True):
            row /= self.n
            row -= self.mean[column] * self.mean
            row /= sd[column] * sd
            np.clip(row, -1, 1, out=row)
        return cross


def read_stream(source: Source, scale: Scale, keep: Int64[np.ndarray, " kept"]) -> Stream:
    """Read the source once."""
    n = len(source.neurons)
    total, squares = np.zeros(n), np.zeros(n)
    windows, kept = [np.zeros(0, np.int64)], [torch.zeros(0, len(keep))]
    for block in source.blocks():
        windows.append(block.windows)
        kept.append(gather(block, scale, keep))
        for slab in block.slabs():
            z = scale.standardised(slab).double()
            total[slab.columns] += z.sum(dim=0).cpu().numpy()
            squares[slab.columns] += (z * z).sum(dim=0).cpu().numpy()
    every = np.concatenate(windows)
    mean = total / max(1, len(every))
    variance = np.where(scale.varies, squares / max(1, len(every)) - mean**2, 0.0)
    return Stream(every, mean, variance, torch.cat(kept))


def gather(block: TokenBlock, scale: Scale, columns: Int64[np.ndarray, " column"]) -> Float[Tensor, "token column"]:
    """The standardised activations of some neurons in a block, on the CPU."""
    found = torch.empty(len(block.windows), len(columns))
    for slab in block.slabs():
        inside = np.flatnonzero((columns >= slab.columns.start) & (columns < slab.columns.stop))
        if len(inside):
            of = torch.from_numpy(columns[inside] - slab.columns.start).to(slab.values.device)
            values = slab.values.index_select(1, of).cpu()
            mean, sd = (torch.from_numpy(a[columns[inside]]) for a in (scale.mean, scale.sd))
            found[:, torch.from_numpy(inside)] = (values - mean) / sd
    return found


def cross_products(source: Source, scale: Scale, left: Left, n_columns: int) -> Float64[np.ndarray, "column neuron"]:
    """Sums over the tokens of the products of `left` with every neuron, in one reading of the source."""
    found = np.zeros((n_columns, len(source.neurons)))
    at = 0
    for block in source.blocks():
        stop = at + len(block.windows)
        mine = left(block, slice(at, stop)).T
        for slab in block.slabs():
            z = scale.standardised(slab)
            found[:, slab.columns] += (mine.to(z.device) @ z).cpu().double().numpy()
        at = stop
    return found


def parts_of(n_columns: int, n_neurons: int) -> Iterator[slice]:
    """Columns whose cross products with all neurons are in memory together."""
    size = max(1, CROSS_BYTES // (8 * max(1, n_neurons)))
    for start in range(0, n_columns, size):
        yield slice(start, min(start + size, n_columns))


def correlation_rows(
    source: Source, scale: Scale, stream: Stream, columns: Int64[np.ndarray, " column"]
) -> Iterator[tuple[slice, Float64[np.ndarray, "column neuron"]]]:
    """Some rows at a time of the correlations of these neurons with all; NaN with themselves."""
    for part in parts_of(len(columns), len(source.neurons)):
        some = columns[part]

        def left(block: TokenBlock, _: slice, some: Int64[np.ndarray, " column"] = some) -> Tensor:
            return gather(block, scale, some)

        cross = cross_products(source, scale, left, len(some))
        found = stream.correlations(cross, some)
        found[np.arange(len(some)), some] = np.nan
        yield part, found


def null_best(
    source: Source, scale: Scale, stream: Stream, columns: Int64[np.ndarray, " column"], *, n_draws: int, seed: int
) -> Float64[np.ndarray, "draw column"]:
    """The largest |r| of each kept neuron with any other, after its windows were permuted.

    `columns` are the neurons in `stream.kept`, in its order.
    """
    best = np.full((n_draws, len(columns)), np.nan)
    if not len(columns):
        return best
    orders = [
        torch.from_numpy(window_permutation(stream.windows, np.random.default_rng([seed, draw])))
        for draw in range(n_draws)
    ]
    for part in parts_of(n_draws * len(columns), len(source.neurons)):
        of = [divmod(i, len(columns)) for i in range(part.start, part.stop)]

        def left(_: TokenBlock, tokens: slice, of: list[tuple[int, int]] = of) -> Tensor:
            draws = dict.fromkeys(draw for draw, _ in of)
            shuffled = {draw: stream.kept[orders[draw][tokens]] for draw in draws}
            return torch.stack([shuffled[draw][:, column] for draw, column in of], dim=1)

        places = np.array([column for _, column in of])
        r = stream.correlations(cross_products(source, scale, left, len(of)), columns[places])
        r[np.arange(len(of)), columns[places]] = np.nan
        for (draw, column), row in zip(of, r, strict=True):
            value = np.fmax.reduce(np.abs(row))  # NaN only if all are
            best[draw, column] = value
    return best
