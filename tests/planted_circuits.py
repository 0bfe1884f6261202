"""Hand-made circuits with groups whose members are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.circuits.graph import Edge, Graph, Node, Prompt, node_id

N_LAYERS = 4
TOKENS = ("<bos>", "The", " capital", " of", " Dallas", " is")


class Planted(NamedTuple):
    """`members` are the ids of each planted group; `peaks` those of the neurons, in the order of the graph."""

    graph: Graph
    members: list[set[str]]
    peaks: np.ndarray


def planted(*, alike: float, seed: int = 0, per_group: int = 6, n_lone: int = 6) -> Planted:
    """Two groups at position 4 and one at position 5, and lone neurons at both; layers 0 to 3.

    Every neuron has edges from lower neurons and embeddings and to higher ones and the target. `alike` 1: the members
    of a group have equal profiles; 0: random ones. Half of the neurons have the opposite sign of activation.
    """
    random = np.random.default_rng(seed)
    nodes, kinds = [_embedding(pos) for pos in range(len(TOKENS))], {}
    below = [_neuron(0, pos, 100 + i) for pos in (1, 2, 4) for i in range(5)]
    above = [_neuron(3, 5, 200 + i) for i in range(8)]
    for group, (pos, n) in enumerate([(4, per_group), (4, per_group), (5, per_group), (4, n_lone), (5, n_lone)]):
        for i in range(n):
            node = _neuron(1 + i % 2, pos, 1000 * (group + 1) + i, sign=-1 if i % 2 else 1)
            kinds[node.id] = group if group < 3 else None
            nodes.append(node)
    target = Node(node_id("target", N_LAYERS, 5, n_layers=N_LAYERS, token_id=9), "target", N_LAYERS, 5, token="Austin")
    middle = [node for node in nodes if node.id in kinds]
    sources, targets = [*nodes[: len(TOKENS)], *below], [*above, target]
    centres = random.normal(size=(3, len(sources) + len(targets)))
    peaks, edges = np.zeros((0, 12)), []
    peak_centres = random.normal(size=(3, 12))
    for node in middle:
        group, own = kinds[node.id], random.normal(size=centres.shape[1])
        share = alike if group is not None else 0.0
        profile = share * (centres[group] if group is not None else 0) + (1 - share) * own
        sign = 1 if (node.activation or 0) > 0 else -1
        for other, weight in zip([*sources, *targets], profile, strict=True):
            if other in sources and other.pos <= node.pos:
                edges.append(Edge(other.id, node.id, sign * weight))
            elif other in targets:
                edges.append(Edge(node.id, other.id, weight))
        own_peaks = share * (peak_centres[group] if group is not None else 0) + (1 - share) * random.normal(size=12)
        peaks = np.vstack([peaks, sign * own_peaks])
    random_peaks = random.normal(size=(len(below) + len(above), 12))
    edges += [Edge("C", target.id, 100.0), Edge("R_1_5", target.id, 50.0)]
    nodes += [*below, *above, Node("C", "constant", -1, -1), Node("R_1_5", "rest", 1, 5), target]
    members = [{id_ for id_, g in kinds.items() if g == group} for group in range(3)]
    prompt = Prompt("p0", "".join(TOKENS), tuple(range(6)), TOKENS, 5, 9, "Austin", 0.9)
    return Planted(Graph(prompt, N_LAYERS, tuple(nodes), tuple(edges)), members, np.vstack([peaks, random_peaks]))


def _neuron(layer: int, pos: int, neuron: int, sign: int = 1) -> Node:
    id_ = node_id("neuron", layer, pos, n_layers=N_LAYERS, neuron=neuron)
    return Node(id_, "neuron", layer, pos, neuron, activation=2.0 * sign, reference=0.1, score=1.0)


def _embedding(pos: int) -> Node:
    id_ = node_id("embedding", -1, pos, n_layers=N_LAYERS, token_id=pos)
    return Node(id_, "embedding", -1, pos, token_id=pos, token=TOKENS[pos])
