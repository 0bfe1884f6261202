"""For each direction, the others with the largest |cosine|. Each pair is computed once, in tiles; never all at once.

Ties are in the order of the directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

LoadRows = Callable[[int], Float[Tensor, "some d_model"]]
"""The directions of a panel (a contiguous part of all directions), of length 1, or 0 for those without a direction."""

_GROUP: Final = 16
"""Cosines of which first only the largest is compared with what a direction has already."""
_NONE: Final = -1.0
"""Size in the place of a neighbour that is not there."""


class Tile(NamedTuple):
    """How many pairs are computed together. On a CPU they stay in the cache."""

    rows: int
    columns: int


CPU_TILE: Final = Tile(256, 2048)
GPU_TILE: Final = Tile(8192, 8192)


def default_tile(device: torch.device) -> Tile:
    return CPU_TILE if device.type == "cpu" else GPU_TILE


class Neighbours(NamedTuple):
    """The nearest of each direction, the largest |cosine| first; id -1 where there are fewer."""

    ids: Int[Tensor, "n top"]
    cosines: Float[Tensor, "n top"]


class Search:
    """Collects the nearest of `n` directions from tiles of cosines, which must come in ascending order of columns for a
    row, and of rows for a column."""

    def __init__(self, n: int, top: int, device: torch.device) -> None:
        self.ids = torch.full((n, top), -1, dtype=torch.int32, device=device)
        self.cosines = torch.full((n, top), _NONE, dtype=torch.float32, device=device)
        self.sizes = torch.full((n, top), _NONE, dtype=torch.float32, device=device)

    def restore(self, found: Neighbours) -> None:
        """Go on from what another search had found."""
        self.ids.copy_(found.ids)
        self.cosines.copy_(found.cosines)
        self.sizes.copy_(torch.where(found.ids < 0, _NONE, found.cosines.abs()))

    def found(self) -> Neighbours:
        """A copy of what has been found so far."""
        return Neighbours(self.ids.clone(), self.cosines.clone().clamp_(-1, 1))

    def offer(
        self,
        first_row: int,
        first_column: int,
        cosines: Float[Tensor, "row column"],
        sizes: Float[Tensor, "row column"],
    ) -> None:
        """Take over what is nearer for the rows. `sizes` are |cosines|, negative for what is no neighbour."""
        mine = slice(first_row, first_row + len(sizes))
        rows, columns = _above(sizes, self._limits(self.sizes[mine, -1], sizes))
        if not len(rows):
            return
        touched, place = torch.unique_consecutive(rows, return_inverse=True)
        rank = _rank_in_run(rows)
        shape = len(touched), int(rank.max()) + 1
        new_ids = torch.full(shape, -1, dtype=torch.int32, device=rows.device)
        new_values = torch.full(shape, _NONE, device=rows.device)
        new_sizes = torch.full(shape, _NONE, device=rows.device)
        new_ids[place, rank] = (columns + first_column).to(torch.int32)
        new_values[place, rank] = cosines[rows, columns]
        new_sizes[place, rank] = sizes[rows, columns]
        where = touched + first_row
        both = torch.cat([self.sizes[where], new_sizes], 1)
        keep = both.argsort(dim=1, descending=True, stable=True)[:, : self.ids.shape[1]]
        self.sizes[where] = both.gather(1, keep)
        self.ids[where] = torch.cat([self.ids[where], new_ids], 1).gather(1, keep)
        self.cosines[where] = torch.cat([self.cosines[where], new_values], 1).gather(1, keep)

    def _limits(self, last: Tensor, sizes: Tensor) -> Tensor:
        """What a size must exceed: the last of those that a row has, and where it has too few, that of this tile."""
        top = self.ids.shape[1]
        if bool((last >= 0).all()) or sizes.shape[1] <= top:
            return last
        of_tile = sizes.topk(top, dim=1).values[:, -1]
        below = torch.nextafter(of_tile, torch.full_like(of_tile, -torch.inf))  # equal ones are compared by id
        return torch.maximum(last, below)


class _At(NamedTuple):
    rows: Tensor
    columns: Tensor


def _above(sizes: Tensor, limits: Tensor) -> _At:
    """Where `sizes` exceeds the limit of its row, by row and column. Most groups are dismissed by their largest."""
    width = sizes.shape[1]
    if width % _GROUP:
        return _At(*(sizes > limits[:, None]).nonzero(as_tuple=True))
    apart = width // _GROUP  # a group is every `apart`-th column: reduced faster than neighbouring columns
    row, group = (_group_maxima(sizes, apart) > limits[:, None]).nonzero(as_tuple=True)
    members = group[:, None] + apart * torch.arange(_GROUP, device=sizes.device)
    hit, member = (sizes[row[:, None], members] > limits[row, None]).nonzero(as_tuple=True)
    place = (row[hit] * width + members[hit, member]).sort().values
    return _At(place // width, place % width)


def _group_maxima(sizes: Float[Tensor, "row column"], apart: int) -> Float[Tensor, "row group"]:
    flipped = sizes.stride(0) < sizes.stride(1)  # a transposed view, which `amax` would read against its order
    rows = sizes.T if flipped else sizes
    axis = 0 if flipped else 1
    largest: Tensor = rows.unflatten(axis, (_GROUP, apart)).amax(axis)
    return largest.T if flipped else largest


def _rank_in_run(values: Tensor) -> Tensor:
    """Position of each value within its run of equal values."""
    at = torch.arange(len(values), device=values.device)
    starts = torch.where(values == values.roll(1), 0, at)
    starts[0] = 0
    rank: Tensor = at - starts.cummax(0).values
    return rank


def pairs_of_panels(n: int) -> Iterator[tuple[int, int]]:
    """Each pair of panels once, in the order that `Search` needs."""
    return ((i, j) for i in range(n) for j in range(i, n))


@torch.no_grad()
def search(
    load: LoadRows, starts: Sequence[int], found: Search, *, tile: Tile, done: int,
    after_pair: Callable[[int], None], advance: Callable[[int], None],
) -> None:  # fmt: skip
    """Compare all pairs of panels but the first `done`. `starts` are the first directions of the panels, and at the end
    their number. `after_pair` is called with the number of pairs of panels done, `advance` with that of cosines."""
    held = -1
    for number, (i, j) in enumerate(pairs_of_panels(len(starts) - 1)):
        if number < done:
            continue
        if held != i:
            rows, held = load(i), i
        columns = rows if i == j else load(j)
        compare(rows, columns, starts[i], starts[j], found, tile, advance)
        del columns
        after_pair(number + 1)


@torch.no_grad()
def compare(
    rows: Float[Tensor, "row d_model"], columns: Float[Tensor, "column d_model"], first_row: int, first_column: int,
    found: Search, tile: Tile, advance: Callable[[int], None],
) -> None:  # fmt: skip
    """Offer the cosines of a pair of panels, which is the same one where both begin with the same direction."""
    same = first_row == first_column
    buffers = torch.empty(2, tile.rows * tile.columns, dtype=rows.dtype, device=rows.device)
    for r in range(0, len(rows), tile.rows):
        some = rows[r : r + tile.rows]
        for c in range(r if same else 0, len(columns), tile.columns):
            others = columns[c : c + tile.columns]
            shape = (len(some), len(others))
            cosines, sizes = (b[: shape[0] * shape[1]].view(shape) for b in buffers)
            torch.mm(some, others.T, out=cosines)
            torch.abs(cosines, out=sizes)
            square = len(some) if same and c == r else 0  # holds both sides of its pairs
            if square:
                sizes[:, :square].fill_diagonal_(2 * _NONE)
            found.offer(first_row + r, first_column + c, cosines, sizes)
            if square < shape[1]:
                found.offer(first_column + c + square, first_row + r, cosines[:, square:].T, sizes[:, square:].T)
            advance(shape[0] * shape[1])


@torch.no_grad()
def best_of_permuted(
    load: LoadRows, starts: Sequence[int], chosen: Int[Tensor, " sample"], *, tile: Tile, seed: int,
    advance: Callable[[int], None],
) -> Float[Tensor, " sample"]:  # fmt: skip
    """The largest |cosine| of each chosen direction with all others, after its coordinates were permuted: each has a
    permutation of its own. `chosen` is ascending."""
    generator = torch.Generator().manual_seed(seed)
    panels = range(len(starts) - 1)
    permuted = []
    for i in panels:
        here = chosen[(chosen >= starts[i]) & (chosen < starts[i + 1])] - starts[i]
        if len(here):
            rows = load(i)[here.to(chosen.device)]
            shuffled = torch.rand(rows.shape, generator=generator).argsort(dim=1).to(rows.device)
            permuted.append(rows.gather(1, shuffled))
    rows = torch.cat(permuted)
    best = torch.zeros(len(rows), dtype=rows.dtype, device=rows.device)
    for i in panels:
        panel = load(i)
        for first in range(0, len(panel), tile.columns):
            others = panel[first : first + tile.columns]
            sizes = (rows @ others.T).abs_()
            own = chosen - starts[i] - first
            mine = ((own >= 0) & (own < len(others))).nonzero()[:, 0]
            sizes[mine, own[mine]] = 0
            best = torch.maximum(best, sizes.amax(1))
            advance(sizes.numel())
    return best
