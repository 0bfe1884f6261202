"""What is compared of the neurons of a circuit: where they read, where they write, and on which prompts they are
active.

All three have the sign of the neuron's change from its reference, so that two neurons that say the same with opposite
signs of their activations are alike. Rest nodes and the constant, sums of everything else, are in no profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from neuron_signatures.runs.circuits.graph import Graph, Node

_COMPARED = ("neuron", "embedding", "target")


@dataclass(frozen=True)
class Part:
    """One vector for each neuron. `possible`: where a value can differ from 0, by order of layers and positions."""

    values: Float64[np.ndarray, "neuron column"]
    possible: Bool[np.ndarray, "neuron column"]


def change_sign(node: Node) -> int:
    """The sign of a - ā, of a without a reference; 1 for 0."""
    return -1 if (node.activation or 0.0) - (node.reference or 0.0) < 0 else 1


def edge_profiles(graph: Graph, neurons: Sequence[Node]) -> tuple[Part, Part]:
    """Weights of the incoming and of the outgoing edges; 0 where there is no edge.

    Incoming weights are multiplied with the neuron's sign: positive ones are what drives its change.
    """
    columns = [node for node in graph.nodes if node.kind in _COMPARED]
    column_of = {node.id: i for i, node in enumerate(columns)}
    row_of = {node.id: i for i, node in enumerate(neurons)}
    into, out = np.zeros((len(neurons), len(columns))), np.zeros((len(neurons), len(columns)))
    for edge in graph.edges:
        if edge.target in row_of and edge.source in column_of:
            row = row_of[edge.target]
            into[row, column_of[edge.source]] = edge.weight * change_sign(neurons[row])
        if edge.source in row_of and edge.target in column_of:
            out[row_of[edge.source], column_of[edge.target]] = edge.weight
    before = np.array([[_can_reach(column, row) for column in columns] for row in neurons], bool)
    after = np.array([[_can_reach(row, column) for column in columns] for row in neurons], bool)
    shape = into.shape
    return Part(into, before.reshape(shape)), Part(out, after.reshape(shape))


def signature_profile(neurons: Sequence[Node], peaks: Float64[np.ndarray, "neuron prompt"]) -> Part:
    """Each neuron's peaks over prompts, with its sign, less their mean: the cosine of two is a correlation."""
    signed = peaks * np.array([change_sign(node) for node in neurons])[:, None]
    centred = signed - signed.mean(axis=1, keepdims=True)
    return Part(centred, np.ones(centred.shape, bool))


def similarity(parts: Sequence[Part]) -> Float64[np.ndarray, "neuron neuron"]:
    """The mean over the parts of the cosines, of the parts in which both neurons have values; 0 without one."""
    n = len(parts[0].values)
    total, defined = np.zeros((n, n)), np.zeros((n, n))
    for part in parts:
        norms = np.linalg.norm(part.values, axis=1)
        unit = part.values / np.where(norms > 0, norms, 1.0)[:, None]
        both = np.outer(norms > 0, norms > 0)
        total += np.where(both, unit @ unit.T, 0.0)
        defined += both
    cosines: np.ndarray = np.clip(total / np.maximum(defined, 1), -1.0, 1.0)
    return cosines


def shuffled(part: Part, pos: np.ndarray, random: np.random.Generator) -> Part:
    """Each column permuted on its own, among the neurons of one position that can have a value there.

    Every column keeps its values at every position: what is lost is that the same neurons share several of them.
    """
    values = part.values.copy()
    keys = random.random(values.shape)
    for at in np.unique(pos):
        rows = pos == at
        here, possible = values[rows], part.possible[rows]
        # Order of the possible entries of each column: as they are, and at random.
        target = np.argsort(~possible, axis=0, kind="stable")
        source = np.argsort(np.where(possible, keys[rows], np.inf), axis=0)
        moved = np.zeros_like(here)
        np.put_along_axis(moved, target, np.take_along_axis(here, source, axis=0), axis=0)
        values[rows] = np.where(possible, moved, here)
    return Part(values, part.possible)


def _can_reach(source: Node, target: Node) -> bool:
    return source.layer < target.layer and source.pos <= target.pos
