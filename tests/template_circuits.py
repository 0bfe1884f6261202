"""Hand-made circuits of prompts of one template."""

from __future__ import annotations

from neuron_signatures.runs.circuits.folder import TRACE
from neuron_signatures.runs.circuits.graph import Edge, Graph, Node, Prompt, node_id
from neuron_signatures.runs.circuits.reader import StoredCircuit
from neuron_signatures.runs.stage_results import ResultRecord

N_LAYERS, D_MLP = 3, 50
SHARED, VARYING, RARE = 1, 2, 3


def circuit(
    i: int,
    *,
    held_out: bool = False,
    entity: str | None = None,
    ids=None,
    strange: bool = False,
    reference: str = "mean",
):
    """Prompts `0 1 2 [entity] 3`, of one or two tokens of the entity.

    The neuron SHARED at the last position is 5 in all; VARYING at the entity's end is ±i by turns; RARE is only in the
    first circuit. A held-out circuit that is `strange` has other neurons.
    """
    ids = ids or [0, 1, 2, *([20 + i, 30 + i] if i % 2 else [20 + i]), 3]
    last, shift = len(ids) - 1, 10 if strange else 0
    target = Node(node_id("target", N_LAYERS, last, n_layers=N_LAYERS, token_id=40 + i), "target", N_LAYERS, last,
                  token_id=40 + i, token=f"answer {i}", activation=3.0)  # fmt: skip
    start = Node(node_id("embedding", -1, 0, n_layers=N_LAYERS, token_id=0), "embedding", -1, 0, token_id=0, token="0")
    shared = neuron(2, last, SHARED + shift, 5.0, 5.0 if reference == "template" else 0.0)
    varying = neuron(1, last - 1, VARYING + shift, (-1.0) ** (i // 2) * (1 + i))
    nodes = [
        start,
        shared,
        varying,
        *([neuron(0, last, RARE, 1.0)] if i == 0 else []),
        Node("R_0_0", "rest", 0, 0),
        target,
    ]
    edges = [
        Edge(start.id, varying.id, 0.5), Edge(varying.id, shared.id, 1.0 + i), Edge(shared.id, target.id, 2.0),
        Edge("R_0_0", target.id, 9.0),
    ]  # fmt: skip
    prompt = Prompt(f"p{i}", "x", tuple(ids), tuple(map(str, ids)), last, 40 + i, f"answer {i}", 0.5)
    record = ResultRecord(
        stage="poc10_trace_circuit", mode=TRACE, created_at_utc="", facts={}, wall_seconds=0.0,
        settings={"entity": entity or f"city {i}", "held_out": held_out, "reference": reference},
    )  # fmt: skip
    return StoredCircuit(f"c{i}", Graph(prompt, N_LAYERS, tuple(nodes), tuple(edges)), record)


def neuron(layer: int, pos: int, i: int, activation: float, reference: float = 0.0) -> Node:
    id_ = node_id("neuron", layer, pos, n_layers=N_LAYERS, neuron=i)
    return Node(
        id_, "neuron", layer, pos, i, activation=activation, reference=reference, score=abs(activation), label=f"n{i}"
    )
