"""How well the predicted effects of a circuit agree with those that were measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.circuits.graph import Graph
from neuron_signatures.stats.correlation import pearson, spearman


class Agreement(NamedTuple):
    """Correlation of predicted with measured effects; None where it is undefined (fewer than two, or constant)."""

    what: str
    predictor: str
    pearson: float | None
    spearman: float | None
    n: int


class _Effect(NamedTuple):
    """Predictions of one effect, and what was measured. `pos` is that of the source."""

    pos: int
    by_rule: float | None
    by_gradient: float | None
    measured: float | None


def agreements(graph: Graph) -> tuple[Agreement, ...]:
    """Predicted against measured effects, over what has both.

    Edges into neurons (activation) and into the target (logits) are in different units, and so are correlated apart.
    Where first positions are among the sources, the rest is correlated alone as well: by a mean over other tokens
    their massive activations change so much that no gradient predicts the effect, and few edges decide a correlation.
    """
    pos = {node.id: node.pos for node in graph.nodes}
    targets = {node.id for node in graph.nodes if node.kind == "target"}
    edges = [(e.target in targets, _Effect(pos[e.source], e.weight, e.total, e.measured)) for e in graph.edges]
    groups = {
        "edges into neurons": [effect for last, effect in edges if not last],
        "edges into the target": [effect for last, effect in edges if last],
        "nodes": [_Effect(n.pos, n.score, n.effect, n.measured) for n in graph.nodes if n.kind == "neuron"],
    }
    return tuple(found for what, effects in groups.items() for found in _agreements_of(what, effects))


def _agreements_of(what: str, effects: Sequence[_Effect]) -> Iterator[Agreement]:
    measured = [e for e in effects if e.measured is not None]
    later = [e for e in measured if e.pos > 0]
    parts = {what: measured}
    if len(later) < len(measured):
        parts[f"{what}, first position left out"] = later
    for part, some in parts.items():
        yield _agreement(part, "half rule", [(e.by_rule, e.measured) for e in some])
        yield _agreement(part, "plain gradient", [(e.by_gradient, e.measured) for e in some])


def _agreement(what: str, predictor: str, pairs: Sequence[tuple[float | None, float | None]]) -> Agreement:
    known = np.array([pair for pair in pairs if None not in pair], np.float64).reshape(-1, 2)
    x, y = known[:, 0], known[:, 1]
    return Agreement(what, predictor, pearson(x, y), spearman(x, y), len(known))
