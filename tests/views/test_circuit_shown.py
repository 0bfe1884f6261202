"""What of a circuit is shown: every node and edge is shown or counted as hidden, for one reason."""

from __future__ import annotations

import pytest
from circuit_chain import CHAIN, PROMPT, Named, neuron
from circuits_made import made_graph

from neuron_signatures.runs.circuits.graph import Edge, Graph, Node
from neuron_signatures.views.circuit.shown import MOST_NODES, REASONS, Shown, Thresholds, edge_strengths, show


def ids(shown: Shown) -> set[str]:
    return {i.id for i in shown.items}


def is_whole(shown: Shown) -> None:
    """Nothing is lost: shown and hidden nodes, edges and weights are those of the graph."""
    graph = shown.graph
    assert shown.n_nodes + sum(h.n_nodes for h in shown.hidden) == len(graph.nodes)
    assert shown.n_edges + sum(h.n_edges for h in shown.hidden) == len(graph.edges)
    assert sum(e.n for e in shown.edges) == shown.n_edges
    weights = sum(abs(e.weight) for e in graph.edges)
    assert shown.abs_weight + sum(h.abs_weight for h in shown.hidden) == pytest.approx(weights)
    strengths = sum(e.strength for e in shown.edges) + sum(h.strength for h in shown.hidden)
    assert strengths == pytest.approx(sum(edge_strengths(graph)))
    known = ids(shown)
    assert all(e.source in known and e.target in known for e in shown.edges)


def test_everything_is_shown_without_thresholds():
    shown = show(CHAIN)
    is_whole(shown)
    assert not shown.hidden and len(shown.items) == 5 and shown.items[0].id == "t"
    assert [i.id for i in shown.items[1:]] == ["a", "b", "e", "c"]  # by influence
    strongest = shown.edges[0]
    assert (strongest.source, strongest.target) == ("b", "t") and strongest.strength == pytest.approx(3 / 5)


def test_shares_hide_what_is_beyond_them_and_what_this_cuts_off():
    shown = show(CHAIN, Thresholds(node_share=0.9))
    is_whole(shown)
    assert ids(shown) == {"t", "a", "b", "e"}
    assert [(h.reason, h.n_nodes, h.n_edges, h.abs_weight) for h in shown.hidden] == [("node share", 1, 2, 0.375)]

    shown = show(CHAIN, Thresholds(edge_share=0.55))  # without a -> b nothing leads from e and a to the target
    is_whole(shown)
    assert ids(shown) == {"t", "b"}
    hidden = {h.reason: h for h in shown.hidden}
    assert hidden["no path to the target"].n_nodes == 3
    assert show(CHAIN, Thresholds(edge_share=0.55, connected=False)).n_nodes == 5


def test_the_limit_keeps_the_most_influential_nodes_and_all_pins():
    shown = show(CHAIN, Thresholds(max_nodes=3))
    is_whole(shown)
    assert ids(shown) == {"t", "a", "b"}
    pinned = show(CHAIN, Thresholds(max_nodes=1, node_share=0.1, kinds=("embedding",)), pinned=["c", "gone"])
    is_whole(pinned)
    assert ids(pinned) >= {"t", "c"}
    assert next(i for i in pinned.items if i.id == "c").pinned
    chosen = show(CHAIN, Thresholds(max_nodes=1), chosen=["c"])
    is_whole(chosen)
    assert ids(chosen) == {"t", "c"} and not any(i.pinned for i in chosen.items)


def test_kinds_and_paths():
    shown = show(CHAIN, Thresholds(kinds=("neuron",)))
    is_whole(shown)
    assert ids(shown) == {"t", "a", "b", "c"}
    through_c = show(CHAIN, Thresholds(through=("c",)))
    is_whole(through_c)
    assert ids(through_c) == {"t", "c", "e"}
    assert ids(show(CHAIN, Thresholds(through=("a", "b")))) == {"t", "a", "b", "e"}
    assert len(show(CHAIN, Thresholds(through=("no such node",))).items) == 5


def test_a_collapsed_group_is_one_node_with_summed_edges():
    group = Named("g", "first", ("a", "c", "not in the graph"))
    shown = show(CHAIN, groups=[group], collapsed=["g"])
    is_whole(shown)
    assert ids(shown) == {"t", "b", "e", "group:g"}
    item = next(i for i in shown.items if i.is_group)
    assert [n.id for n in item.nodes] == ["a", "c"] and item.label == "first"
    into = next(e for e in shown.edges if (e.source, e.target) == ("e", "group:g"))
    assert (into.n, into.weight) == (2, 1.25)
    out = next(e for e in shown.edges if (e.source, e.target) == ("group:g", "t"))
    assert out.weight == pytest.approx(0.375) and out.strength == pytest.approx(0.625 / 5)  # signs do not cancel in it

    inside = show(CHAIN, groups=[Named("g", "", ("a", "b"))], collapsed=["g"])
    is_whole(inside)
    assert [(h.reason, h.n_edges) for h in inside.hidden] == [("in a group", 1)]
    assert show(CHAIN, groups=[group]).items[1].group == "g"  # expanded: each node names its group


def test_large_graphs_are_cut_and_add_up():
    graph = made_graph(neurons_per_place=200)
    shown = show(graph, Thresholds(node_share=0.97, edge_share=0.9, max_nodes=10_000, max_edges=50))
    is_whole(shown)
    assert len(shown.items) <= MOST_NODES and len(shown.edges) == 50
    assert {h.reason for h in shown.hidden} <= set(REASONS)
    assert show(graph) == show(graph)


def test_undefined_shares_pass_and_zero_sums_divide_nothing():
    nodes = (neuron("a", 0, None), Node("t", "target", 1, 1))
    graph = Graph(PROMPT, 1, nodes, (Edge("a", "t", 0.0),))
    shown = show(graph, Thresholds(node_share=0.0, edge_share=0.0))
    is_whole(shown)
    assert ids(shown) == {"a", "t"} and shown.edges[0].strength == 0
