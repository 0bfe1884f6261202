"""Interventions on other texts than their own: at the last position of a prompt, or at every position of a text.

Random sets have the size and the norms of the set, on every prompt anew: the delta of a neuron on a prompt is its new
activation minus its clean one there, and a random neuron of the same layer gets a delta of the same norm
(`random_sets`), of random sign. Both have one form: where the neuron is set to a value, which is clean + delta, the
random one is set to clean + delta; where it is added to, delta is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.controls.matched import enough_neurons, matched_neurons
from neuron_signatures.interventions.controls.random_sets import Norms
from neuron_signatures.interventions.copies import Copies, Predictions
from neuron_signatures.interventions.side_effects.perplexity import changed_everywhere
from neuron_signatures.models.load import LoadedModel


@runtime_checkable
class Elsewhere(Protocol):
    """An intervention that can be repeated on other texts, with `n_random` random ones of its size."""

    @property
    def n_random(self) -> int: ...

    def passes(
        self, problem: Problem, acts: Float[Tensor, "layer neuron"]
    ) -> Iterable[tuple[Predictions, Predictions]]:
        """Forward passes of copies of the problem's prompt, each with its clean copy: the intervention first, then the
        random ones, all at the target position. `acts` are the clean activations there."""

    def everywhere(self) -> AbstractContextManager[None]:
        """Within the block, the intervention holds at every position but the first of plain forward passes over one
        sequence."""


class ChangedNeurons:
    """Changed neurons, and random ones drawn with `rng`: none if a layer has too few neurons for them."""

    def __init__(
        self, model: LoadedModel, changes: Changes, norms: Norms, n_random: int, rng: np.random.Generator, batch: int
    ) -> None:
        self._model, self._norms, self._batch = model, norms, batch
        self._cells = at_latest(changes)
        self._drawn = _draw(self._cells, norms, n_random, rng)

    @property
    def n_random(self) -> int:
        return len(self._drawn)

    def passes(
        self, problem: Problem, acts: Float[Tensor, "layer neuron"]
    ) -> Iterator[tuple[Predictions, Predictions]]:
        c, at = self._cells, problem.target.pos
        own = Changes(c.layer, torch.full_like(c.pos, at), c.neuron, c.factor, c.offset)
        sets = [own, *_random_sets(own, acts, self._drawn, self._norms)]
        return Copies(problem, first=at, batch=self._batch).run(sets)

    def everywhere(self) -> AbstractContextManager[None]:
        return changed_everywhere(self._model.hf, self._cells)


def at_latest(changes: Changes) -> Changes:
    """One cell per neuron: that of its latest position."""
    latest: dict[tuple[int, int], int] = {}
    pos = changes.pos.tolist()
    for row, key in enumerate(zip(changes.layer.tolist(), changes.neuron.tolist(), strict=True)):
        if key not in latest or pos[row] > pos[latest[key]]:
            latest[key] = row
    return changes[list(latest.values())]


class _Drawn(NamedTuple):
    """One random set: a neuron and a sign per cell."""

    neuron: Int[Tensor, " n"]
    sign: Float[Tensor, " n"]


def _draw(cells: Changes, norms: Norms, n: int, rng: np.random.Generator) -> list[_Drawn]:
    if not enough_neurons(cells.layer, norms):
        return []
    return [
        _Drawn(
            matched_neurons(cells.layer, cells.neuron, norms, rng),
            torch.from_numpy(rng.choice([-1.0, 1.0], size=len(cells))).to(cells.offset),
        )
        for _ in range(n)
    ]


def _random_sets(
    own: Changes, acts: Float[Tensor, "layer neuron"], drawn: Sequence[_Drawn], norms: Norms
) -> Iterator[Changes]:
    clean = acts[own.layer, own.neuron]
    size = (own.factor * clean + own.offset - clean).abs() * norms[own.layer, own.neuron]
    adds = own.factor == 1
    for neuron, sign in drawn:
        delta = sign * size / norms[own.layer, neuron]
        offset = torch.where(adds, delta, acts[own.layer, neuron] + delta)
        yield Changes(own.layer, own.pos, neuron, adds.to(delta), offset)
