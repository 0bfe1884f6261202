"""Figures of a graph as a whole: how much of it is accounted for, and how far inputs cancel."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuron_signatures.circuits.graph.influence import graph_scores
from neuron_signatures.circuits.graph.prune import Pruned
from neuron_signatures.runs.circuits.graph import Graph, Node


def graph_facts(graph: Graph, pruned: Pruned) -> dict[str, Any]:
    """For the stage record."""
    scores = graph_scores(pruned.matrix)
    with_inputs = [node for node in graph.nodes if node.incoming_abs is not None]
    return {
        "n_nodes": len(graph.nodes), "n_neurons": pruned.matrix.n, "n_edges": len(graph.edges),
        "n_neuron_edges": int(np.count_nonzero(pruned.matrix.between)),
        "n_over_max_nodes": pruned.n_over, "n_dangling": pruned.n_dangling,
        "replacement": scores.replacement, "completeness": scores.completeness,
        "shown_share": _median([shown_share(node) for node in with_inputs]),
        "shown_share_singly": _median([shown_share_singly(node) for node in with_inputs]),
        "target_shown_share": shown_share(with_inputs[-1]),
        "target_shown_share_singly": shown_share_singly(with_inputs[-1]),
        "cancellation": _median([cancellation(node) for node in with_inputs]),
    }  # fmt: skip


def shown_share(node: Node) -> float | None:
    """Share of Σ|E| of shown nodes other than rest, where each rest node and the constant is one sum."""
    if node.shown_abs is None or node.rest_abs is None:
        return None
    total = node.shown_abs + node.rest_abs
    return node.shown_abs / total if total else None


def shown_share_singly(node: Node) -> float | None:
    """Share of Σ|E| over every neuron and bias singly, of shown nodes other than rest."""
    if node.shown_abs is None or not node.incoming_abs:
        return None
    return node.shown_abs / node.incoming_abs


def cancellation(node: Node) -> float | None:
    """Σ|E| over every source singly, over the absolute value that they sum to; None if that is 0."""
    if node.incoming_abs is None or not node.activation:
        return None
    return node.incoming_abs / abs(node.activation)


def _median(values: list[float | None]) -> float | None:
    """Of those that are defined."""
    known = [v for v in values if v is not None]
    return float(np.median(known)) if known else None
