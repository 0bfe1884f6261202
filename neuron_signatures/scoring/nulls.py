"""The null of a score: explanations of other neurons of the same layer, applied to this neuron."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.records.names import NeuronPole


class Draw(NamedTuple):
    """One neuron, and the other neuron whose explanation is applied to it."""

    at: NeuronPole
    other: NeuronPole


@dataclass(frozen=True)
class Null:
    """Scores of other neurons' explanations, pooled over the neurons of a layer (or of all layers).

    Pooled over neurons, since the best of the few draws of one neuron would be biased upwards.
    """

    values: tuple[float, ...]
    """Defined ones, ascending."""
    n_undefined: int

    @property
    def mean(self) -> float | None:
        return float(np.mean(self.values)) if self.values else None

    @property
    def spread(self) -> float | None:
        """The standard deviation of the draws; None for fewer than two."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    def share_at_least(self, value: float) -> float | None:
        """The share of the draws that are at least as good, as a p-value: (1 + n at least) / (1 + n draws).

        Undefined draws count as draws that are worse. None without draws.
        """
        n = len(self.values) + self.n_undefined
        at_least = len(self.values) - int(np.searchsorted(self.values, value, side="left"))
        return (1 + at_least) / (1 + n) if n else None


def draw_others(ats: Sequence[NeuronPole], *, per_neuron: int, seed: int) -> list[Draw]:
    """For each neuron `per_neuron` others of its layer, all of them if there are fewer; never the same neuron's poles.

    The draws of a neuron depend on the seed and on the neurons of its layer alone.
    """
    by_layer: dict[int, list[NeuronPole]] = defaultdict(list)
    for at in sorted(set(ats)):
        by_layer[at.layer].append(at)
    draws = []
    for layer, members in sorted(by_layer.items()):
        random = np.random.default_rng([seed, layer])
        for at in members:
            others = [other for other in members if other.neuron != at.neuron]
            draws += [Draw(at, others[i]) for i in random.permutation(len(others))[:per_neuron]]
    return draws


def null_by_layer(draws: Sequence[Draw], score: Callable[[Draw], float | None]) -> Mapping[int, Null]:
    """The pooled null of each layer. `score` scores the other's explanation on the neuron's texts."""
    values: dict[int, list[float | None]] = defaultdict(list)
    for draw in draws:
        values[draw.at.layer].append(score(draw))
    return {layer: null_of(found) for layer, found in values.items()}


def null_of(values: Sequence[float | None]) -> Null:
    """Draws as a null."""
    defined = sorted(v for v in values if v is not None)
    return Null(tuple(defined), len(values) - len(defined))
