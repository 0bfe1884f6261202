"""All similarities of many draws of groups of texts, in every bank and in several banks as one vector.

The same draws are used in every bank, for all measures and backgrounds. One bank is in memory at a time; draws are
processed in chunks of bounded size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from neuron_signatures.runs.progress import Bar
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.reader import Matrix
from neuron_signatures.skills.compare import measures
from neuron_signatures.skills.compare.prepared import BACKGROUNDS, Prepared, weighted_sums

_CHUNK: Final = 1 << 18
"""Values (draws times units) of one array that are in memory at a time: 2 MB, which a cache holds; there are ten."""
_BATCH: Final = 1 << 26
"""Counts in the histograms of one batch of blocks: 256 MB."""


class Scope(NamedTuple):
    """The units that are compared together: a bank, a source and site in all layers, or a source (an empty `site`)."""

    source: str
    site: str
    layer: int | None


@dataclass(frozen=True)
class Block:
    """Draws over the same texts. A draw has some rows, each a group of texts, of which some pairs are compared."""

    texts: Int64[np.ndarray, " text"]
    """Places in the chosen texts."""
    weights: UInt8[np.ndarray, "draw row text"]
    """How often each text counts."""
    pairs: Int64[np.ndarray, "pair 2"]

    @property
    def sizes(self) -> Int64[np.ndarray, "draw row"]:
        n: np.ndarray = self.weights.sum(axis=2, dtype=np.int64)
        return n

    @property
    def n_pairs(self) -> int:
        return len(self.weights) * len(self.pairs)


class Measured(NamedTuple):
    """The similarities of one block in one scope, columns as in `measures.COLUMNS`; NaN where undefined."""

    scope: Scope
    block: int
    values: Float64[np.ndarray, "draw pair background column"]
    n_units: Int64[np.ndarray, " background"]


def scopes_of(banks: Sequence[Bank]) -> dict[tuple[Bank, ...], list[Scope]]:
    """The groups of banks with their names; a group that is a single bank has the names of both."""
    groups: dict[Scope, list[Bank]] = {}
    for bank in banks:
        for scope in (
            Scope(bank.source, bank.site, bank.layer),
            Scope(bank.source, bank.site, None),
            Scope(bank.source, "", None),
        ):
            groups.setdefault(scope, []).append(bank)
    named: dict[tuple[Bank, ...], list[Scope]] = {}
    for scope, members in groups.items():
        named.setdefault(tuple(members), []).append(scope)
    return named


def measure(
    blocks: Sequence[Block], banks: Sequence[Bank], load: Callable[[Bank], Prepared], *, min_share: float, bar: Bar
) -> Iterator[Measured]:
    """The similarities of every block in every scope. `bar` advances by one per block, bank and pass over the banks."""
    groups = scopes_of(banks)
    for batch in batches(blocks, groups):
        yield from _measure_batch(batch, blocks, groups, banks, load, min_share, bar)


def batches(blocks: Sequence[Block], groups: Mapping[tuple[Bank, ...], list[Scope]]) -> list[list[int]]:
    """Numbers of blocks whose histograms are in memory together."""
    n_groups = max(1, sum(len(g) > 1 for g in groups))
    found: list[list[int]] = [[]]
    held = 0
    for i, block in enumerate(blocks):
        n_draws, n_rows, n_texts = block.weights.shape
        size = n_draws * n_rows * (n_texts + 1) * measures.RANKED * n_groups
        if found[-1] and held + size > _BATCH:
            found.append([])
            held = 0
        found[-1].append(i)
        held += size
    return found


class _Held:
    """Sums of one block over the banks of a group."""

    def __init__(self, block: Block) -> None:
        n_draws, n_rows = block.weights.shape[:2]
        n_values = int(block.sizes.max()) + 1
        self.sums = np.zeros((block.n_pairs, len(BACKGROUNDS), measures.N_SUMS))
        self.histogram = np.zeros((measures.RANKED, n_draws * n_rows, n_values), np.int32)
        self.products = np.zeros((block.n_pairs, measures.RANKED))
        self.n_units = np.zeros(len(BACKGROUNDS), np.int64)

    def values(self, block: Block) -> np.ndarray:
        found = measures.from_sums(self.sums, self.n_units)
        ranked: list[np.ndarray] = []
        for _, rows, pairs in _chunks(block, self.histogram.shape[-1]):
            histogram = self.histogram[:, rows]
            at = slice(len(ranked), len(ranked) + len(pairs))
            tables = measures.rank_tables(histogram)
            ranked += list(measures.spearman(self.products[at], histogram, tables, pairs))
        out = np.concatenate([found, np.reshape(ranked, (block.n_pairs, len(BACKGROUNDS), 1))], axis=-1)
        return out.reshape(len(block.weights), len(block.pairs), len(BACKGROUNDS), len(measures.COLUMNS))


def _measure_batch(
    batch: Sequence[int], blocks: Sequence[Block], groups: Mapping[tuple[Bank, ...], list[Scope]],
    banks: Sequence[Bank], load: Callable[[Bank], Prepared], min_share: float, bar: Bar,
) -> Iterator[Measured]:  # fmt: skip
    several = {group: {i: _Held(blocks[i]) for i in batch} for group in groups if len(group) > 1}
    for bank in banks:
        prepared = load(bank)
        parents = [held for group, held in several.items() if bank in group]
        for i in batch:
            alone = _Held(blocks[i])
            _add(alone, blocks[i], prepared, min_share)
            for held in parents:
                held[i].sums += alone.sums
                held[i].histogram += alone.histogram
                held[i].n_units += alone.n_units
            values = alone.values(blocks[i])
            yield from (Measured(scope, i, values, alone.n_units) for scope in groups.get((bank,), ()))
            bar.advance(1)
    for bank in banks if several else ():
        prepared = load(bank)
        for i in batch:
            for group, held in several.items():
                if bank in group:
                    _add_products(held[i], blocks[i], prepared)
            bar.advance(1)
    for group, held in several.items():
        for i in batch:
            values = held[i].values(blocks[i])
            yield from (Measured(scope, i, values, held[i].n_units) for scope in groups[group])


def _add(held: _Held, block: Block, prepared: Prepared, min_share: float) -> None:
    """Add a bank to sums that are empty, with the products of its own ranks."""
    weights = prepared.weights
    held.n_units += np.array([np.count_nonzero(w > 0) if i < 2 else len(w) for i, w in enumerate(weights)])
    fires, means = (_of_block(m, block) for m in (prepared.fires, prepared.means))
    sizes = block.sizes.reshape(-1).astype(np.float64)
    done = 0
    for draws, rows, pairs in _chunks(block, len(prepared.units)):
        w = block.weights[draws].reshape(-1, len(block.texts))
        compared = measures.rows_of(weighted_sums(w, fires), weighted_sums(w, means), sizes[rows], min_share)
        histogram = measures.histograms(compared.n_texts, held.histogram.shape[-1], weights)
        at = slice(done, done + len(pairs))
        held.sums[at] = measures.pair_sums(compared, pairs, weights)
        held.histogram[:, rows] = histogram
        tables = measures.rank_tables(histogram)
        held.products[at] = measures.rank_products(compared.n_texts, tables, pairs, weights)
        done += len(pairs)


def _add_products(held: _Held, block: Block, prepared: Prepared) -> None:
    """Add a bank's products of ranks among all units of the group."""
    fires, done = _of_block(prepared.fires, block), 0
    for draws, rows, pairs in _chunks(block, max(len(prepared.units), held.histogram.shape[-1])):
        w = block.weights[draws].reshape(-1, len(block.texts))
        count = np.rint(weighted_sums(w, fires)).astype(np.int64)
        tables = measures.rank_tables(held.histogram[:, rows])
        at = slice(done, done + len(pairs))
        held.products[at] += measures.rank_products(count, tables, pairs, prepared.weights)
        done += len(pairs)


def _of_block(matrix: Matrix, block: Block) -> Matrix:
    return matrix[block.texts]


def _chunks(block: Block, width: int) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Draws, their rows, and their pairs as places in those rows."""
    n_draws, n_rows = block.weights.shape[:2]
    step = max(1, _CHUNK // max(1, width * max(n_rows, len(block.pairs))))
    for start in range(0, n_draws, step):
        n = min(step, n_draws - start)
        pairs = (np.arange(n)[:, None, None] * n_rows + block.pairs).reshape(-1, 2)
        yield slice(start, start + n), slice(start * n_rows, (start + n) * n_rows), pairs
