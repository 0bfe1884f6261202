"""Direct edges as one matrix, and what a smaller set of nodes leaves of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int

from neuron_signatures.circuits.types import Incoming, NeuronAt


@dataclass(frozen=True)
class EdgeMatrix:
    """Direct edges into the target (row 0) and into each neuron (row i + 1 is neuron i), in units of their values.

    Sources of a row: the neurons, in order of layer; the embedding of each position; the rest of each layer and
    position; the constant. Rest nodes, embeddings and the constant have no incoming edges, so they have no rows.
    """

    neurons: tuple[NeuronAt, ...]
    between: Float64[np.ndarray, "row neuron"]
    embeddings: Float64[np.ndarray, "row pos"]
    rest: Float64[np.ndarray, "row layer pos"]
    constant: Float64[np.ndarray, " row"]
    absolute: Float64[np.ndarray, " row"]
    """Σ|E| over every neuron of the model singly, embeddings, biases and the constant."""
    value: Float64[np.ndarray, " row"]
    """The target function, and the activations."""

    @property
    def n(self) -> int:
        """Number of neurons."""
        return len(self.neurons)

    def all_sources(self) -> Float64[np.ndarray, "row source"]:
        """All sources in the order of the class: neurons, embeddings, rest, constant."""
        rest = self.rest.reshape(len(self.rest), -1)
        return np.concatenate([self.between, self.embeddings, rest, self.constant[:, None]], axis=1)

    def is_error(self) -> Bool[np.ndarray, " source"]:
        """Which sources stand for what is no node: the rest and the constant."""
        n_errors = self.rest[0].size + 1
        n_others = self.n + self.embeddings.shape[1]
        return np.repeat([False, True], [n_others, n_errors])


def edge_matrix(found: Incoming, neurons: Sequence[NeuronAt]) -> EdgeMatrix:
    """The edges of `incoming` with the target as first row, then `neurons`, which are its columns as well."""
    assert len(found.value) == len(neurons) + 1 and found.neurons.shape[1] == len(neurons)
    assert list(neurons) == sorted(neurons)
    parts = (found.neurons, found.embeddings, found.rest, found.constant, found.absolute, found.value)
    return EdgeMatrix(tuple(neurons), *(part.double().numpy() for part in parts))


def keep_neurons(matrix: EdgeMatrix, kept: Sequence[int]) -> EdgeMatrix:
    """The same with some of the neurons: edges from the others are in the rest of their layer and position.

    Each row still sums to its value.
    """
    dropped = np.setdiff1d(np.arange(matrix.n), kept)
    columns = np.asarray(kept, int)
    rows = np.concatenate([[0], columns + 1])
    smaller = EdgeMatrix(
        tuple(matrix.neurons[i] for i in kept), matrix.between[np.ix_(rows, columns)], matrix.embeddings[rows],
        matrix.rest[rows].copy(), matrix.constant[rows], matrix.absolute[rows], matrix.value[rows],
    )  # fmt: skip
    _add_to_rest(smaller.rest, matrix.between[rows][:, dropped], [matrix.neurons[i] for i in dropped])
    return smaller


def keep_edges(matrix: EdgeMatrix, kept: Bool[np.ndarray, "row neuron"]) -> EdgeMatrix:
    """The same with some of the edges between neurons; the others are in the rest of their source's place."""
    rest = matrix.rest.copy()
    _add_to_rest(rest, np.where(kept, 0.0, matrix.between), matrix.neurons)
    return replace(matrix, between=np.where(kept, matrix.between, 0.0), rest=rest)


def _add_to_rest(
    rest: Float64[np.ndarray, "row layer pos"],
    edges: Float64[np.ndarray, "row neuron"],
    neurons: Sequence[NeuronAt],
) -> None:
    """Add the edges from `neurons` to the rest of their layers and positions, in place."""
    layers: Int[np.ndarray, " neuron"] = np.array([n.layer for n in neurons], int)
    positions: Int[np.ndarray, " neuron"] = np.array([n.pos for n in neurons], int)
    for place in set(zip(layers.tolist(), positions.tolist(), strict=True)):
        rest[:, *place] += edges[:, (layers == place[0]) & (positions == place[1])].sum(1)
