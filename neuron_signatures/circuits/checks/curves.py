"""How much of a prediction the strongest neurons of a circuit keep, and how much is left without them.

Units are neurons at positions. m(C) is the target function with every unit set to its reference except those of C:

    faithfulness(C) = (m(C) - m(∅)) / (m(M) - m(∅))      complement(C) = the same of M without C

as in arXiv 2403.19647. By default random sets have as many units of each layer at each position: a unit that equals its
reference, as every unit before the entity does by the mean of a template, would make a random set smaller than it
looks. Ranking and ablation use the same reference.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuron_signatures.analysis.attribution.estimators.ablation import SetMeaning
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.validation.controls import layer_matched, takes_whole_layers
from neuron_signatures.analysis.validation.faithfulness import is_scored, normalised, tolerance
from neuron_signatures.analysis.validation.sets import NeuronSet, NeuronSets, ranking
from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.circuits.checks.chance import Chance, chance
from neuron_signatures.circuits.checks.settings import CurveSettings
from neuron_signatures.circuits.types import NeuronAt
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.runs.progress import ProgressOf

log = logging.getLogger(__name__)

MEANINGS: Final[tuple[SetMeaning, ...]] = ("keep", "ablate")


class Ends(NamedTuple):
    """m(∅) and m(M), in logits."""

    empty: float
    full: float


@dataclass(frozen=True)
class CurvePoint:
    """A set of `k` units. Shares are None if m(M) is too close to m(∅), chance if no random sets were measured."""

    k: int
    faithfulness: float | None
    complement: float | None
    random: Chance | None = None
    """Faithfulness of random sets; its p is the share of those that keep at least as much."""
    complement_random: Chance | None = None
    """What is left without a random set; its p is the share of those without which at most as much is left."""


@dataclass(frozen=True)
class Curves:
    """The sets of the strongest units in order of size, and the circuit's own set. `full` and `empty` are m(M) and
    m(∅), in logits, of `n_units`."""

    points: tuple[CurvePoint, ...]
    circuit: CurvePoint | None
    n_units: int
    full: float
    empty: float
    warnings: tuple[str, ...]


def curves(
    problem: Problem,
    relevance: Float[Tensor, "layer pos neuron"],
    reference: Float[Tensor, "layer pos neuron"],
    settings: CurveSettings,
    *,
    circuit: Sequence[NeuronAt] = (),
    values: StoredValues,
    progress: ProgressOf,
) -> Curves:
    """The curves of the units in order of |relevance|, and the point of the neurons of the `circuit`.

    `relevance` and `reference` are at the problem's positions, which are those that are ablated. `values` keeps what is
    measured. Raises `UsageError` for a reference that is not finite.
    """
    layers, width = mlp_shape(problem.hf)
    n = layers * width * len(problem.positions)
    sizes = [k for k in settings.sizes if k <= n]
    with progress("sets", n_sets(sizes, settings, with_circuit=bool(circuit))) as bar:
        bar.skip(values.count)
        sets = NeuronSets(
            problem, tuple(range(layers)), batch=settings.batch, values=values, advance=bar.advance, per_position=True
        )
        ends = Ends(*sets.ends("ends", reference))
        order = ranking(relevance.double().flatten().numpy(), signed=False)
        tops = [sets.top(order, k) for k in sizes]
        own = [_mask(circuit, problem, sets.shape)] if circuit else []
        if is_scored(empty=ends.empty, full=ends.full, min_effect=settings.min_effect):
            measure = _Measure(sets, reference, settings, ends)
            points = measure.points("top", tops, settings.control_sizes)
            of_circuit = measure.points("circuit", own, None)
            warnings: tuple[str, ...] = ()
        else:
            points, of_circuit = ([CurvePoint(int(m.sum()), None, None) for m in some] for some in (tops, own))
            warnings = (_not_scored(ends),)
    return Curves(tuple(points), of_circuit[0] if of_circuit else None, n, ends.full, ends.empty, warnings)


def n_sets(sizes: Sequence[int], settings: CurveSettings, *, with_circuit: bool) -> int:
    """How many sets are measured at most, each in a forward pass of one copy of the prompt."""
    n_controlled = len(set(sizes) & set(settings.control_sizes)) + with_circuit
    return 2 + 2 * (len(sizes) + with_circuit) + 2 * settings.n_random * n_controlled


def _not_scored(ends: Ends) -> str:
    what = f"the prediction is {ends.full:.3g} logits, and {ends.empty:.3g} with every neuron at its reference"
    return f"{what}: too small a difference to be shared out, so sets are not scored"


class _Measure:
    """Shares of the sets of one problem, by one reference."""

    def __init__(
        self, sets: NeuronSets, reference: Float[Tensor, "layer pos neuron"], settings: CurveSettings, ends: Ends
    ) -> None:
        self._sets, self._reference, self._settings, self._ends = sets, reference, settings, ends

    def points(self, name: str, members: Sequence[NeuronSet], control_sizes: Sequence[int] | None) -> list[CurvePoint]:
        """Of each set, with random sets where it has one of the sizes (None: any size)."""
        found = []
        shares = (self._shares(f"{name}/{meaning}", members, meaning) for meaning in MEANINGS)
        for own, kept, left in zip(members, *shares, strict=True):
            k = int(own.sum())
            controlled = (control_sizes is None or k in control_sizes) and not takes_whole_layers(self._cells(own))
            random = self._random(f"{name} {k}", own) if controlled else None
            noise = tolerance(empty=self._ends.empty, full=self._ends.full)
            found.append(CurvePoint(
                k, kept, left,
                random and chance(kept, random.kept, tolerance=noise),
                random and chance(left, random.left, larger=False, tolerance=noise),
            ))  # fmt: skip
        return found

    def _random(self, name: str, own: NeuronSet) -> _RandomShares:
        """Of the same random sets, kept and ablated."""
        seed = [self._settings.seed, int(own.sum())]
        shares = []
        for meaning in MEANINGS:
            matched = layer_matched(self._cells(own), np.random.default_rng(seed))
            drawn = (cells.view(own.shape) for cells in islice(matched, self._settings.n_random))
            shares.append(self._shares(f"{name} random/{meaning}", drawn, meaning))
        log.info("%s: measured %d random sets", name, self._settings.n_random)
        return _RandomShares(*shares)

    def _shares(self, name: str, members: Iterable[NeuronSet], meaning: SetMeaning) -> list[float]:
        found = list(self._sets.measure(name, members, meaning, self._reference))
        shares: list[float] = normalised(found, empty=self._ends.empty, full=self._ends.full).tolist()
        return shares

    def _cells(self, own: NeuronSet) -> Bool[Tensor, "cell unit"]:
        """The set as rows within which random sets have as many units: layers at positions, or layers."""
        return own.flatten(0, 1) if self._settings.matched == "layer and position" else own.flatten(1)


class _RandomShares(NamedTuple):
    kept: list[float]
    left: list[float]


def _mask(members: Sequence[NeuronAt], problem: Problem, shape: tuple[int, ...]) -> NeuronSet:
    mask = torch.zeros(shape, dtype=torch.bool)
    for layer, pos, neuron in members:
        mask[layer, problem.positions.index(pos), neuron] = True
    return mask
