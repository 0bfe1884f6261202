"""m(C): the target function with only a set of neurons kept, or with only a set ablated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from neuron_signatures.analysis.attribution.estimators.ablation import SetMeaning, joint_ablation
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.models.capture import mlp_shape

KEPT_SHARE = 0.8
# Sizes tried at once in the search for the smallest set: a large model has 100,000 between two points of the curve.
_GRID = 32

NeuronSet = Bool[Tensor, "layer *pos neuron"]
# The share of the function that the top k neurons keep, for each k.
ShareOf = Callable[[Sequence[int]], Float64[np.ndarray, " k"]]
# Called with the number of sets just measured.
Advance = Callable[[int], Any]


class NeuronSets:
    """The function f of a problem with sets of neurons of `layers` replaced by the reference.

    A set is a mask of `layers`: of neurons at all positions of the problem together, or with `per_position` of neurons
    at positions. Sets are measured in batches, in the order in which they are asked for by name; values that `values`
    has under a name are not measured again.
    """

    def __init__(
        self,
        problem: Problem,
        layers: tuple[int, ...],
        *,
        batch: int,
        values: StoredValues,
        advance: Advance,
        per_position: bool = False,
    ) -> None:
        self._problem, self._layers, self._batch = problem, layers, batch
        self._values, self._advance = values, advance
        positions = (len(problem.positions),) if per_position else ()
        self.shape = (len(layers), *positions, mlp_shape(problem.hf).d_mlp)
        self.n = math.prod(self.shape)

    def measure(
        self,
        name: str,
        sets: Iterable[NeuronSet],
        meaning: SetMeaning,
        reference: Float[Tensor, "model_layer pos neuron"],
    ) -> Iterator[float]:
        """f with each set kept (all other neurons of the layers replaced) or ablated, as it is measured."""
        known = self._values.of(name)
        left = iter(sets)
        for i, _ in enumerate(islice(left, len(known))):
            yield known[i]
        chunks = joint_ablation(
            self._problem, left, reference=reference, meaning=meaning, layers=self._layers, batch=self._batch
        )
        for chunk in chunks:
            found = chunk.double().tolist()
            known += found
            self._values.changed()
            self._advance(len(found))
            yield from found

    @property
    def n_measured(self) -> int:
        """The number of sets that were measured, each a forward pass of one copy of the prompt."""
        return self._values.count

    def top(self, order: Int64[np.ndarray, " unit"], k: int) -> NeuronSet:
        """The set of the first k of a ranking."""
        members = torch.zeros(self.n, dtype=torch.bool)
        members[torch.from_numpy(order[:k].copy())] = True
        return members.view(self.shape)

    def ends(self, name: str, reference: Float[Tensor, "model_layer pos neuron"]) -> tuple[float, float]:
        """m(∅) and m(M)."""
        nothing = torch.zeros(self.shape, dtype=torch.bool)
        empty, full = self.measure(name, chain([nothing], [~nothing]), "keep", reference)
        return empty, full


def ranking(scores: Float64[np.ndarray, " unit"], *, signed: bool) -> Int64[np.ndarray, " unit"]:
    """Neurons in descending order of |score| (or of the score); ties in order of the neurons, NaN last."""
    key = scores if signed else np.abs(scores)
    return np.lexsort((np.arange(len(key)), -np.where(np.isnan(key), -np.inf, key)))


def smallest_size(
    sizes: Sequence[int], faithfulness: Sequence[float], share: ShareOf, *, bar: float = KEPT_SHARE
) -> int | None:
    """The least k whose top k keeps `bar` of the function; None if no size of the curve does.

    The search starts between the first size of the curve that reaches the bar and the size before it. It tries every k
    between them, or 32 evenly spaced ones if there are more, and continues around the first that reaches the bar.
    The result is the least k if faithfulness crosses the bar once in this range, else one of the crossings.
    """
    hits = [i for i, f in enumerate(faithfulness) if f >= bar]
    if not hits:
        return None
    low, high = (sizes[hits[0] - 1] if hits[0] else 0), sizes[hits[0]]
    while high - low > 1:
        n = min(high - low, _GRID)
        tried = np.unique(np.linspace(low + 1, high, n).round().astype(int)).tolist()
        values = share(tried)
        first = next((i for i, f in enumerate(values) if f >= bar), len(tried) - 1)
        low, high = (tried[first - 1] if first else low), tried[first]
    return int(high)
