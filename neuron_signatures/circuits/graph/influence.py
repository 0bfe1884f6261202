"""How much of the target passes through each node and edge, by the absolute edges of a graph.

As in attribution graphs (Ameisen et al. 2025, "Circuit Tracing"): Â is |A| with rows that sum to 1, the influence of a
node Σ_k w Âᵏ with w the target. The graph is acyclic (edges go to later layers), so one pass from the last layer to the
first is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from neuron_signatures.circuits.graph.matrix import EdgeMatrix


class Influence(NamedTuple):
    """Influence on the target of every source (see `EdgeMatrix.all_sources`) and of every edge."""

    nodes: Float64[np.ndarray, " source"]
    edges: Float64[np.ndarray, "row source"]
    """Of a row's influence (1 for the target) the share that comes over this edge. A column sums to its node's."""


class Scores(NamedTuple):
    """How much of a graph is accounted for by nodes: rest nodes and the constant count as errors.

    None if there are no edges.
    """

    replacement: float | None
    """Influence of the embeddings over that of embeddings and errors: the share of all paths that reach the tokens."""
    completeness: float | None
    """Share of the input that is from neurons and embeddings, over the target and all neurons, each weighted by its
    influence."""


def influence(matrix: EdgeMatrix) -> Influence:
    """The influence of all nodes and edges on the target."""
    size = np.abs(matrix.all_sources())
    total = size.sum(1, keepdims=True)
    shares = np.divide(size, total, out=np.zeros_like(size), where=total > 0)
    layers = np.array([neuron.layer for neuron in matrix.neurons], int)
    edges = np.zeros_like(shares)
    edges[0] = shares[0]
    for layer in np.unique(layers)[::-1]:
        own = np.flatnonzero(layers == layer)
        through = edges[:, own].sum(0)  # all rows that these neurons feed are complete
        edges[own + 1] = through[:, None] * shares[own + 1]
    return Influence(edges.sum(0), edges)


def graph_scores(matrix: EdgeMatrix) -> Scores:
    """Replacement and completeness of a graph."""
    found, error = influence(matrix), matrix.is_error()
    embeddings = found.nodes[matrix.n : matrix.n + matrix.embeddings.shape[1]].sum()
    errors = found.nodes[error].sum()
    reached = found.edges.sum()  # of the target and all neurons that have inputs
    return Scores(
        replacement=float(embeddings / (embeddings + errors)) if embeddings + errors > 0 else None,
        completeness=float(found.edges[:, ~error].sum() / reached) if reached > 0 else None,
    )


def cumulative_share(values: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """For each value the share of the sum that it and all larger ones have. Ties are in order of place."""
    flat = values.reshape(-1)
    order = np.argsort(-flat, kind="stable")
    total = flat.sum()
    found = np.ones_like(flat)
    if total > 0:
        found[order] = np.minimum(np.cumsum(flat[order]) / total, 1.0)
    return found.reshape(values.shape)
