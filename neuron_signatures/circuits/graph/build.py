"""A pruned matrix of edges as the graph that is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from neuron_signatures.circuits.graph.influence import Influence, cumulative_share, influence
from neuron_signatures.circuits.graph.matrix import EdgeMatrix
from neuron_signatures.runs.circuits.graph import EMBEDDING_LAYER, Edge, Graph, Node, Prompt, node_id


@dataclass(frozen=True)
class SourceValues:
    """At the positions of the circuit: the references of all neurons, and relevance for the target."""

    references: Float[Tensor, "layer pos neuron"]
    relevance: Float[Tensor, "layer pos neuron"]
    embeddings: Float[Tensor, " pos"]
    """Relevance of the embeddings."""


def build_graph(matrix: EdgeMatrix, prompt: Prompt, values: SourceValues) -> Graph:
    """Nodes and edges with their shares of the influence in this graph; edges of weight 0 are left out.

    Every embedding is a node. A rest node and the constant are nodes if an edge comes from them.
    """
    n_layers = matrix.rest.shape[1]
    ids = _source_ids(matrix, prompt, n_layers)
    found = influence(matrix)
    shares = cumulative_share(found.nodes)
    target = _target_node(matrix, prompt, n_layers)
    edges = tuple(_edges(matrix, found, ids, target.id))
    linked = {edge.source for edge in edges}
    sources = [
        node for node in _source_nodes(matrix, prompt, values, ids, shares) if node.kind in ("neuron", "embedding")
        or node.id in linked
    ]  # fmt: skip
    return Graph(prompt, n_layers, (*sources, target), edges)


def _source_ids(matrix: EdgeMatrix, prompt: Prompt, n_layers: int) -> list[str]:
    """In the order of `EdgeMatrix.all_sources`."""
    _, n_rest_layers, n_pos = matrix.rest.shape
    return [
        *(node_id("neuron", n.layer, n.pos, n_layers=n_layers, neuron=n.neuron) for n in matrix.neurons),
        *(node_id("embedding", EMBEDDING_LAYER, pos, n_layers=n_layers, token_id=prompt.token_ids[pos])
          for pos in range(n_pos)),
        *(node_id("rest", layer, pos, n_layers=n_layers) for layer in range(n_rest_layers) for pos in range(n_pos)),
        node_id("constant", EMBEDDING_LAYER, -1, n_layers=n_layers),
    ]  # fmt: skip


def _source_nodes(
    matrix: EdgeMatrix, prompt: Prompt, values: SourceValues, ids: Sequence[str], shares: Float64[np.ndarray, " source"]
) -> Iterator[Node]:
    """In the order of `EdgeMatrix.all_sources`."""
    _, n_layers, n_pos = matrix.rest.shape
    named = iter(zip(ids, shares.tolist(), strict=True))
    sums = _sums(matrix)
    for row, (layer, pos, neuron) in enumerate(matrix.neurons, start=1):
        id_, share = next(named)
        yield Node(
            id_, "neuron", layer, pos, neuron, activation=float(matrix.value[row]),
            reference=float(values.references[layer, pos, neuron]),
            score=float(values.relevance[layer, pos, neuron]), influence=share,
            incoming_abs=sums[row].every, shown_abs=sums[row].shown, rest_abs=sums[row].rest,
        )  # fmt: skip
    for pos in range(n_pos):
        id_, share = next(named)
        yield Node(
            id_, "embedding", EMBEDDING_LAYER, pos, None, prompt.token_ids[pos], prompt.tokens[pos],
            score=float(values.embeddings[pos]), influence=share,
        )  # fmt: skip
    for layer in range(n_layers):
        for pos in range(n_pos):
            id_, share = next(named)
            yield Node(id_, "rest", layer, pos, influence=share)
    id_, share = next(named)
    yield Node(id_, "constant", EMBEDDING_LAYER, -1, influence=share)


def _target_node(matrix: EdgeMatrix, prompt: Prompt, n_layers: int) -> Node:
    """All of the influence begins at the target, so its share is 0: no threshold hides it."""
    sums = _sums(matrix)[0]
    id_ = node_id("target", n_layers, prompt.target_pos, n_layers=n_layers, token_id=prompt.target_id)
    return Node(
        id_, "target", n_layers, prompt.target_pos, None, prompt.target_id, prompt.target,
        activation=float(matrix.value[0]), influence=0.0,
        incoming_abs=sums.every, shown_abs=sums.shown, rest_abs=sums.rest,
    )  # fmt: skip


class _Sums(NamedTuple):
    """Σ|E| of a row: `incoming_abs`, `shown_abs` and `rest_abs` of its node."""

    every: float
    shown: float
    rest: float


def _sums(matrix: EdgeMatrix) -> list[_Sums]:
    """Of each row."""
    size, error = np.abs(matrix.all_sources()), matrix.is_error()
    return [
        _Sums(float(every), float(row[~error].sum()), float(row[error].sum()))
        for every, row in zip(matrix.absolute, size, strict=True)
    ]


def _edges(matrix: EdgeMatrix, found: Influence, ids: Sequence[str], target: str) -> Iterator[Edge]:
    """The strongest first."""
    weights, shares = matrix.all_sources(), cumulative_share(found.edges)
    rows = [target, *ids[: matrix.n]]
    there = np.argwhere(weights != 0)
    for row, source in there[np.argsort(shares[tuple(there.T)], kind="stable")]:
        weight, share = float(weights[row, source]), float(shares[row, source])
        yield Edge(ids[source], rows[row], weight, share=share)
