"""The null of a score: explanations of other neurons of the same layer, applied to this neuron."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.records.names import NeuronPole


class Draw(NamedTuple):
    """One neuron, and the other neuron whose explanation is applied to it."""

    at: NeuronPole
    other: NeuronPole


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
