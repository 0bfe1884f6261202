"""Greedy choice of the cells to patch, with gradients recomputed at the patched state.

The score of a cell (layer, role, neuron) is (a_source - a)·∂f/∂a, where f is the difference of the two answers' pre-cap
logits and a is the activation with the cells chosen so far patched: the first-order effect of patching it too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.copies import Copies, Predictions, joined_predictions, suffix_edit
from neuron_signatures.interventions.swap.pairs import Cells, Pair
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.suffix import Suffix
from neuron_signatures.runs.progress import Bar

_BLOCK_SHARE = 0.2
"""Cells per block, as a share of those chosen so far."""
_SHOWN_BEYOND = 2.0
"""The curve goes on to this many times the fewest cells that flip."""
_LEAST_CURVE = 16


@dataclass(frozen=True)
class Limits:
    """`max_k` cells at most; `block` cells between two computations of the gradients, None for a share."""

    max_k: int
    block: int | None
    batch: int

    def next_block(self, k: int) -> int:
        return min(self.max_k - k, self.block or max(1, math.ceil(_BLOCK_SHARE * k)))

    def is_done(self, k: int, flipped_at: int | None) -> bool:
        """Whether the curve is long enough."""
        enough = flipped_at is not None and k >= max(_LEAST_CURVE, math.ceil(_SHOWN_BEYOND * flipped_at))
        return enough or k >= self.max_k


@dataclass
class Path:
    """The cells in the order in which they were chosen; row k - 1 of `predictions` is with the first k patched."""

    cells: Cells
    predicted: Float[Tensor, " k"]
    """The score of each cell when it was chosen."""
    predictions: Predictions
    clean: Predictions
    """One row."""

    def __len__(self) -> int:
        return len(self.cells)

    def smallest(self, answer: int) -> int | None:
        """The fewest cells after which `answer` is the most likely token; None if it never is."""
        hits = (self.predictions.top_id == answer).nonzero()[:, 0]
        return int(hits[0]) + 1 if len(hits) else None


def greedy(pair: Pair, limits: Limits, bar: Bar, *, at_least: int = 0) -> Path:
    """Choose cells for one pair until its curve is long enough, and has `at_least` cells."""
    growing = Growing([pair], limits)
    for _ in growing.blocks():
        bar.advance(growing.last_block)
        k, found = growing.k, growing.paths()[0]
        if k >= at_least and limits.is_done(k, found.smallest(pair.source_answer)):
            break
    return growing.paths()[0]


@dataclass
class Growing:
    """One list of cells for several pairs; pairs that are flipped do not count for the next block, unless all are."""

    pairs: list[Pair]
    limits: Limits
    k: int = 0
    last_block: int = 0
    cells: Cells = field(default_factory=lambda: torch.empty(0, 3, dtype=torch.long))
    scores: list[Tensor] = field(default_factory=list)
    """Mean score of each block's cells over the pairs that counted."""
    _found: list[list[Predictions]] = field(default_factory=list)
    _clean: list[Predictions | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._suffixes = [pair.suffix() for pair in self.pairs]
        self._copies: list[Copies] = [pair.copies(self.limits.batch) for pair in self.pairs]
        self._found = [[] for _ in self.pairs]
        self._clean = [None] * len(self.pairs)

    def blocks(self) -> Iterator[None]:
        """Add one block after another, until `max_k` or until no cell is predicted to help."""
        while self.k < self.limits.max_k:
            score = self._mean_score()
            best = score.flatten().topk(min(self.limits.next_block(self.k), score.numel()))
            helpful = best.values > 0
            if not bool(helpful.any()):
                return
            chosen = torch.stack(torch.unravel_index(best.indices[helpful], score.shape), 1)
            self.cells = torch.cat([self.cells, chosen])
            self.scores.append(best.values[helpful])
            for i in range(len(self.pairs)):
                self._measure(i, start=self.k)
            self.last_block, self.k = len(chosen), len(self.cells)
            yield

    def paths(self) -> list[Path]:
        found = []
        for some, clean in zip(self._found, self._clean, strict=True):
            assert clean is not None, "no block yet"
            found.append(Path(self.cells, torch.cat(self.scores), joined_predictions(some), clean))
        return found

    def flipped(self) -> list[bool]:
        """Whether each pair's source answer is the most likely token with all cells patched."""
        return [
            bool(found) and int(found[-1].top_id[-1]) == pair.source_answer
            for pair, found in zip(self.pairs, self._found, strict=True)
        ]

    def _mean_score(self) -> Float[Tensor, "layer role neuron"]:
        done = self.flipped()
        counting = [i for i, flipped in enumerate(done) if not flipped] or list(range(len(self.pairs)))
        total: Tensor | None = None
        for i in counting:
            score = cell_scores(self.pairs[i], self._suffixes[i], self.pairs[i].patch(self.cells))
            total = score if total is None else total + score
        assert total is not None
        mean = total / len(counting)
        mean[self.cells.unbind(1)] = -torch.inf
        return mean

    def _measure(self, i: int, *, start: int) -> None:
        """The predictions of pair i with each prefix that the last block added."""
        changes = self.pairs[i].patch(self.cells)
        sets = (changes[: k + 1] for k in range(start, len(self.cells)))
        for clean, edited in self._copies[i].run(sets):
            self._clean[i] = self._clean[i] or clean
            self._found[i].append(edited)


def cell_scores(pair: Pair, suffix: Suffix, changes: Changes) -> Float[Tensor, "layer role neuron"]:
    """The score of every cell with `changes` made, float32 on the CPU; one forward and one backward pass."""
    edit, _ = suffix_edit([changes], pair.first, clean=False)
    rows = suffix.rows(pair.problem.positions)
    seen: list[Tensor] = []

    def keep(layer: int, acts: Tensor) -> Tensor:
        # The first layer's activations are the leaf of the graph: nothing before them needs a gradient.
        acts = acts if seen else acts.detach().requires_grad_()
        seen.append(edit(layer, acts))
        return seen[-1]

    work = work_on(pair.problem.hf, "the gradients of a swap", pair.problem.token_ids)
    with memory_faults(work), torch.enable_grad():
        f = pair.problem.value(suffix.run(1, keep))
        grads = torch.autograd.grad(f.sum(), seen)
    acts = torch.stack([a.detach()[0, rows.to(a.device)].float().cpu() for a in seen])
    slopes = torch.stack([g[0, rows.to(g.device)].float().cpu() for g in grads])
    return (pair.source_acts - acts) * slopes
