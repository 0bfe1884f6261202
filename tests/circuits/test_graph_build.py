"""The stored graph: sums, shares and paths, from hand-made circuits and from tiny models."""

from __future__ import annotations

from collections import defaultdict

import attribution_cases
import pytest
import torch

from neuron_signatures.circuits.graph.build import SourceValues, build_graph
from neuron_signatures.circuits.graph.candidates import strongest
from neuron_signatures.circuits.graph.facts import cancellation, graph_facts, shown_share, shown_share_singly
from neuron_signatures.circuits.graph.matrix import edge_matrix
from neuron_signatures.circuits.graph.paths import strongest_paths
from neuron_signatures.circuits.graph.prune import PruneRules, prune
from neuron_signatures.circuits.tracing.incoming import incoming
from neuron_signatures.circuits.tracing.relevance import relevance
from neuron_signatures.runs.circuits.graph import Edge, Graph, Node, Prompt

LENGTH = attribution_cases.TARGET_POS + 1


def traced(name: str, *, n_candidates: int = 60, rules: PruneRules, of_mean: bool = True):
    """The graph of a tiny model, and what pruning left."""
    target = attribution_cases.target_of(name)
    problem = attribution_cases.problem_of(attribution_cases.loaded(name).hf, target)
    shape = attribution_cases.shape_of(name)
    size = (shape.n_layers, LENGTH, shape.d_mlp)
    low = torch.randn(size, generator=torch.Generator().manual_seed(1)) * 0.02 if of_mean else torch.zeros(size)
    found = relevance(problem, low)
    candidates = strongest(found.neurons, n_candidates)
    pruned = prune(edge_matrix(incoming(problem, [None, *candidates], candidates, low), candidates), rules)
    ids = tuple(attribution_cases.token_ids()[:LENGTH])
    prompt = Prompt("p", "", ids, tuple(map(str, ids)), target.pos, target.token_id, "t", 0.5)
    return build_graph(pruned.matrix, prompt, SourceValues(low, found.neurons, found.embeddings)), pruned


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "llama", "phi"])
def test_edges_into_a_node_sum_to_its_value_and_no_more_than_every_neuron_singly(name):
    graph, pruned = traced(name, rules=PruneRules(20, 0.7, 0.9))
    into = defaultdict(list)
    for edge in graph.edges:
        into[edge.target].append(edge.weight)
    with_inputs = [node for node in graph.nodes if node.incoming_abs is not None]
    assert {node.kind for node in with_inputs} == {"neuron", "target"} and set(into) == {n.id for n in with_inputs}
    for node in with_inputs:
        assert sum(into[node.id]) == pytest.approx(node.activation, abs=1e-4 * node.incoming_abs)
        assert node.shown_abs + node.rest_abs == pytest.approx(sum(map(abs, into[node.id])))
        assert node.shown_abs + node.rest_abs <= node.incoming_abs * (1 + 1e-5)
    facts = graph_facts(graph, pruned)
    assert 5 < facts["n_neurons"] <= 20 and facts["n_nodes"] == len(graph.nodes)
    assert 0 < facts["shown_share_singly"] <= facts["shown_share"] <= 1 <= facts["cancellation"]
    assert 0 < facts["replacement"] < facts["completeness"] < 1


def test_shares_are_cumulative_and_edges_in_their_order():
    graph, _ = traced("llama", rules=PruneRules(20, 0.8, 0.98))
    shares = [edge.share for edge in graph.edges]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    target = next(node for node in graph.nodes if node.kind == "target")
    others = sorted(node.influence for node in graph.nodes if node is not target)
    assert target.influence == 0.0 and others[-1] == pytest.approx(1) and 0 < others[0] < 0.5
    assert all(edge.weight for edge in graph.edges)
    ids = {node.id for node in graph.nodes}
    assert len(ids) == len(graph.nodes) and all(e.source in ids and e.target in ids for e in graph.edges)


def test_kinds_of_nodes_and_their_places():
    graph, _ = traced("gemma2", rules=PruneRules(8, 0.8, 0.98))
    by_kind = defaultdict(list)
    for node in graph.nodes:
        by_kind[node.kind].append(node)
    assert [n.pos for n in by_kind["embedding"]] == list(range(LENGTH))
    assert {n.layer for n in by_kind["embedding"]} == {-1} and len(by_kind["constant"]) == 1
    assert [(n.layer, n.pos) for n in by_kind["target"]] == [(3, LENGTH - 1)]
    assert all(node.influence is not None and node.incoming_abs is None for node in by_kind["rest"])
    of_zero, _ = traced("gemma2", rules=PruneRules(8, 0.8, 0.98), of_mean=False)
    assert not [node for node in of_zero.nodes if node.kind == "constant"]
    assert all(node.reference == 0.0 for node in of_zero.nodes if node.kind == "neuron")


def test_paths_go_from_tokens_to_the_target_through_later_and_later_layers():
    graph, _ = traced("llama", rules=PruneRules(40, 1.0, 1.0))
    paths = strongest_paths(graph)
    assert len(paths) > 3 and [p.effect for p in paths] == sorted((p.effect for p in paths), reverse=True)
    for path in paths:
        assert path.nodes[0].kind == "embedding" and path.nodes[-1].kind == "target" and path.effect > 0
        assert [n.layer for n in path.nodes] == sorted({n.layer for n in path.nodes}) and len(path.nodes) > 2


def neuron(name: str, layer: int, activation: float) -> Node:
    return Node(name, "neuron", layer, 0, 0, activation=activation, reference=0.0)


def test_the_strongest_path_of_hand_made_edges():
    """x → a → t gives 2·(3/4) = 1.5; x → b → c → t gives 1·(-4/2)·(-6/3) = 4, of which both steps are negative."""
    nodes = (
        Node("x", "embedding", -1, 0), Node("y", "embedding", -1, 1), neuron("a", 0, 4.0), neuron("b", 0, 2.0),
        neuron("c", 1, 3.0), Node("t", "target", 2, 0),
    )  # fmt: skip
    edges = (
        Edge("x", "a", 2.0), Edge("a", "t", 3.0), Edge("x", "b", 1.0), Edge("b", "c", -4.0), Edge("c", "t", -6.0),
        Edge("y", "a", -1.0), Edge("y", "t", 9.0),
    )  # fmt: skip
    prompt = Prompt("p", "", (1, 2), ("x", "y"), 0, 3, "t", 0.5)
    (path,) = strongest_paths(Graph(prompt, 2, nodes, edges))  # y only lowers it over neurons
    assert [n.id for n in path.nodes] == ["x", "b", "c", "t"] and path.effect == pytest.approx(4.0)
    assert strongest_paths(Graph(prompt, 2, nodes, ())) == []


def test_shares_of_one_node():
    node = Node("n", "neuron", 1, 0, 0, activation=-2.0, incoming_abs=8.0, shown_abs=3.0, rest_abs=1.0)
    assert shown_share(node) == 0.75 and shown_share_singly(node) == 0.375 and cancellation(node) == 4.0
    empty = Node("n", "neuron", 1, 0, 0, activation=0.0, incoming_abs=0.0, shown_abs=0.0, rest_abs=0.0)
    assert shown_share(empty) is shown_share_singly(empty) is cancellation(empty) is None
    assert shown_share(Node("R", "rest", 0, 0)) is cancellation(Node("R", "rest", 0, 0)) is None
