"""Neurons that follow a property of the entity, such as the state of a city: active alike on all entities that have the
same property, and unlike on the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64

from neuron_signatures.circuits.groups.variance import Between, between_labels
from neuron_signatures.runs.circuits.graph import Graph, Node
from neuron_signatures.stats.chance import benjamini_hochberg

LEAST_SHARE: Final = 0.5
MAX_Q: Final = 0.05
N_DRAWS: Final = 1000


class Follows(NamedTuple):
    """A neuron and how its activation at one position depends on the property. The traced prompt is not counted."""

    node: Node
    share: float
    """η²: share of the variance over the other prompts that lies between values of the property."""
    null_mean: float
    null_sd: float
    """The same with values permuted over the prompts."""
    p: float
    q: float
    """p corrected for the number of neurons of the layer (Benjamini and Hochberg 1995)."""
    own: float | None
    """Mean activation on the other prompts with the value of the traced one; None if there are none."""
    others: float
    """Mean activation on the prompts with other values."""
    z: float | None
    """own - others, in standard deviations over the prompts with other values: whether it stands out for this value."""
    layer_share: float
    """Share of all neurons of the layer with at least this η²: in some models almost every neuron follows."""
    layer_z_share: float | None
    """Share of all neurons of the layer with at least this |z|."""

    @property
    def does(self) -> bool:
        return self.share >= LEAST_SHARE and self.q <= MAX_Q


def neurons_at(graph: Graph, pos: int) -> list[Node]:
    """The circuit's neurons at a position."""
    return [node for node in graph.nodes if node.kind == "neuron" and node.pos == pos]


def follow(
    nodes: Sequence[Node], acts: Mapping[int, Float64[np.ndarray, "neuron prompt"]], values: Sequence[str],
    own_value: str, *, seed: int = 0, n_draws: int = N_DRAWS,
) -> list[Follows]:  # fmt: skip
    """How each node's activation follows the property, the largest share first.

    `acts` are those of whole layers on other prompts of the template at the aligned position, by layer; `values` the
    property of each prompt. Empty if no value has two prompts, or all have the same. A neuron with the same activation
    everywhere follows nothing.
    """
    layers = sorted({node.layer for node in nodes})
    by_layer = {layer: _Layer.of(acts[layer], values, own_value, seed, n_draws) for layer in layers}
    rows = (layer.row(node) for node in nodes if (layer := by_layer[node.layer]) is not None)
    return sorted((row for row in rows if row is not None), key=lambda f: -f.share)


class _Layer(NamedTuple):
    """All neurons of one layer."""

    between: Between
    q: Float64[np.ndarray, " neuron"]
    own: Float64[np.ndarray, " neuron"] | None
    others: Float64[np.ndarray, " neuron"]
    z: Float64[np.ndarray, " neuron"]

    @classmethod
    def of(
        cls, acts: Float64[np.ndarray, "neuron prompt"], values: Sequence[str], own_value: str, seed: int, n_draws: int
    ) -> _Layer | None:
        between = between_labels(acts, values, seed=seed, n_draws=n_draws)
        if between is None:
            return None
        same = np.array([value == own_value for value in values])
        own = acts[:, same].mean(axis=1) if same.any() else None
        others = acts[:, ~same]
        mean, spread = others.mean(axis=1), others.std(axis=1, ddof=1)
        distance = np.full(len(acts), np.nan) if own is None else own - mean
        z = distance / np.where(spread > 0, spread, np.nan)
        return cls(between, benjamini_hochberg(between.p), own, mean, z)

    def row(self, node: Node) -> Follows | None:
        i = node.neuron
        assert i is not None
        share, z = self.between.share[i], self.z[i]
        if np.isnan(share):
            return None
        return Follows(
            node, float(share), float(self.between.null_mean[i]), float(self.between.null_sd[i]),
            float(self.between.p[i]), float(self.q[i]), None if self.own is None else float(self.own[i]),
            float(self.others[i]), None if np.isnan(z) else float(z),
            layer_share=float((np.nan_to_num(self.between.share) >= share).mean()),
            layer_z_share=None if np.isnan(z) else float((np.abs(np.nan_to_num(self.z)) >= abs(z)).mean()),
        )  # fmt: skip
