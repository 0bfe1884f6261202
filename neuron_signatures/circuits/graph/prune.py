"""Which candidates become nodes: the fewest that have a share of the influence, and the edges between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from neuron_signatures.circuits.graph.influence import cumulative_share, influence
from neuron_signatures.circuits.graph.matrix import EdgeMatrix, keep_edges, keep_neurons


@dataclass(frozen=True)
class PruneRules:
    """The smallest sets of nodes and of edges with these shares of the influence; at most `max_nodes` neurons."""

    max_nodes: int
    node_share: float
    edge_share: float


class Pruned(NamedTuple):
    """A pruned graph, whose rows still sum to their values, and what pruning left out."""

    matrix: EdgeMatrix
    n_over: int
    """Neurons within `node_share` that were left out because there were more than `max_nodes`."""
    n_dangling: int
    """Neurons that were dropped because edges that were left out had been their only ones."""


def prune(candidates: EdgeMatrix, rules: PruneRules) -> Pruned:
    """Keep the nodes, then the edges, then drop neurons without incoming or outgoing edges until none is left.

    What is left out is in the rest of its layer and position. Edges from rest nodes, embeddings and the constant always
    stay: the sums need them.
    """
    chosen, n_over = _strongest(candidates, rules)
    matrix = keep_neurons(candidates, chosen)
    found = influence(matrix)
    within = _first(found.edges, rules.edge_share)
    connected = _connected(within, matrix.n)
    rows = np.concatenate([[0], connected + 1])
    smaller = keep_neurons(matrix, connected.tolist())
    kept = within[np.ix_(rows, connected)]
    return Pruned(keep_edges(smaller, kept), n_over, matrix.n - len(connected))


def _strongest(candidates: EdgeMatrix, rules: PruneRules) -> tuple[list[int], int]:
    """Neurons within the share of influence, in order of layer, and how many more there would be."""
    nodes = influence(candidates).nodes
    within = np.flatnonzero(_first(nodes, rules.node_share)[: candidates.n])
    order = within[np.argsort(-nodes[within], kind="stable")]
    return sorted(order[: rules.max_nodes].tolist()), max(0, len(order) - rules.max_nodes)


def _first(values: Float64[np.ndarray, "..."], share: float) -> Bool[np.ndarray, "..."]:
    """The fewest largest values that have `share` of the sum; values of 0 never belong to them."""
    total = values.sum()
    own = values / total if total > 0 else values
    # the sums are rounded: a set that has the share but for rounding has it
    found: Bool[np.ndarray, "..."] = (values > 0) & (cumulative_share(values) - own < share - 1e-12)
    return found


def _connected(within: Bool[np.ndarray, "row source"], n: int) -> np.ndarray:
    """Indices of the neurons that keep an incoming and an outgoing edge when all others are dropped."""
    alive = np.ones(n, bool)
    while True:
        rows = np.concatenate([[True], alive])
        feeds = (within[:, :n] & rows[:, None]).any(0)
        others = within[1:, n:].any(1)
        is_fed = others | (within[1:, :n] & alive).any(1)
        now = alive & feeds & is_fed
        if (now == alive).all():
            return np.flatnonzero(alive)
        alive = now
