"""A circuit with what the run knows of its neurons where the trace did not store it."""

from __future__ import annotations

from dataclasses import replace

from neuron_signatures.runs.circuits.graph import Graph, Node
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.views.circuit.labels import sign_of
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.descriptions import Descriptions

N_TOKENS = 8


def with_promotes(graph: Graph, known: Descriptions) -> Graph:
    """The graph in which neurons without promoted tokens have those of the run's write scores, at the sign of the
    activation minus its reference."""
    if known.written is None:
        return graph
    return replace(graph, nodes=tuple(_filled(n, known) for n in graph.nodes))


def _filled(node: Node, known: Descriptions) -> Node:
    if node.promotes or node.kind != "neuron" or node.neuron is None:
        return node
    try:
        found = known.of(NeuronAt(node.layer, node.neuron), negative=sign_of(node) == "-").promotes
    except ProjectError:  # other views report damaged results
        return node
    return replace(node, promotes=tuple(found[:N_TOKENS]))
