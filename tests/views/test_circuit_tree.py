"""The tree of a circuit: the lines of a node sum to its value, whatever is shown; paths and the grid."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from circuits_made import made_graph

from neuron_signatures.runs.circuits.graph import Edge, Graph, Node, Prompt
from neuron_signatures.views.circuit.grid import Place, grid_of
from neuron_signatures.views.circuit.lists import CircuitIndex
from neuron_signatures.views.circuit.paths import path_to, strongest_paths
from neuron_signatures.views.circuit.tree import lines_of, to_depth, tree_rows

PROMPT = Prompt("p", "a b", (1, 2), ("a", " b"), 1, 9, " c", 0.5)


def hand_made(*, cycle: bool = False) -> Graph:
    """Token → N0 → N1 → target, and Token → N1: every number can be checked by hand."""
    nodes = (
        Node("E", "embedding", -1, 0, score=2.0), Node("R", "rest", 0, 1), Node("C", "constant", -1, -1),
        Node("N0", "neuron", 0, 0, 5, activation=4.0, reference=2.0, incoming_abs=8.0, score=1.5),
        Node("N1", "neuron", 1, 1, 7, activation=-1.0, reference=1.0, incoming_abs=10.0, shown_abs=7.0, rest_abs=2.0,
             score=-0.5),
        Node("T", "target", 2, 1, token_id=9, token=" c", activation=6.0, incoming_abs=6.0),
    )  # fmt: skip
    edges = [Edge("E", "N0", 4.0), Edge("N0", "N1", -3.0), Edge("E", "N1", 2.0), Edge("R", "N1", 0.5),
             Edge("C", "N1", -1.0), Edge("N1", "T", 6.0)]  # fmt: skip
    return Graph(PROMPT, 2, nodes, (*edges, *([Edge("N1", "N0", 0.1)] if cycle else [])))


@pytest.mark.parametrize("most", [0, 1, 3, None])
@pytest.mark.parametrize("n", [1, 7])
def test_the_lines_of_a_node_sum_to_its_value_whatever_is_shown(n, most):
    index = CircuitIndex(made_graph(neurons_per_place=n))
    for node in index.graph.nodes:
        lines = lines_of(index, node.id, most)
        if node.kind in ("neuron", "target"):
            assert math.isclose(math.fsum(x.weight for x in lines), node.activation, abs_tol=1e-9)
            stored = [e for e in index.graph.edges if e.target == node.id]
            assert sum(x.n for x in lines) == len(stored)
            assert sum(x.kind == "source" for x in lines) <= (len(stored) if most is None else most)
        else:
            assert lines == []


def test_the_lines_of_a_neuron_by_hand():
    lines = lines_of(CircuitIndex(hand_made()), "N1", 1)
    assert [(x.kind, x.weight, x.n) for x in lines] == [
        ("source", -3.0, 1), ("hidden", 2.0, 1), ("rest", 0.5, 1), ("constant", -1.0, 1), ("pruned", 0.5, 0),
    ]  # fmt: skip
    assert [x.share for x in lines[:4]] == [0.3, 0.2, 0.05, 0.1]
    assert lines[4].share == pytest.approx(0.9 - 0.65)


def test_without_a_value_what_was_pruned_is_unknown():
    graph = hand_made()
    nodes = tuple(replace(n, activation=None) for n in graph.nodes)
    assert lines_of(CircuitIndex(replace(graph, nodes=nodes)), "N1", 9)[-1][:2] == ("pruned", None)


def test_rows_are_those_that_are_open():
    index = CircuitIndex(hand_made())
    assert [r.path for r in tree_rows(index, (), most=1)] == [("T",)]
    rows = tree_rows(index, {("T",), ("T", "N1"), ("T", "N1", "(rest)")}, most=1)
    assert [r.path[-1] for r in rows] == ["T", "N1", "N0", "(hidden)", "(rest)", "R", "(constant)", "(pruned)"]
    assert [r.depth for r in rows] == [0, 1, 2, 2, 2, 3, 2, 2]
    whole = tree_rows(index, {("T",), ("T", "N1")}, {("T", "N1")}, most=1)
    assert [r.path[-1] for r in whole[2:4]] == ["N0", "E"] and not any(r.path[-1] == "(hidden)" for r in whole)


def test_a_cycle_of_an_imported_graph_ends():
    index = CircuitIndex(hand_made(cycle=True))
    paths = [r.path for r in tree_rows(index, to_depth(index, 50, 9), most=9)]
    assert max(map(len, paths)) < 10 and len(paths) == len(set(paths))
    assert all(not r.can_open for r in tree_rows(index, set(paths), most=9) if r.path.count("N1") > 1)
    assert path_to(index, "E") == ("T", "N1", "N0", "E") or path_to(index, "E") == ("T", "N1", "E")
    assert strongest_paths(index, 9) == []


def test_the_effect_of_a_path_is_the_product_of_its_edges_over_the_changes():
    found = strongest_paths(CircuitIndex(hand_made()), 9)
    # E → N0 → N1 → T: 4 · (-3 / (4 - 2)) · (6 / (-1 - 1)); E → N1 → T: 2 · (6 / -2)
    assert [(p.path, p.effect) for p in found] == [(("T", "N1", "N0", "E"), 18.0), (("T", "N1", "E"), -6.0)]
    assert strongest_paths(CircuitIndex(hand_made()), 1) == found[:1]


def test_the_path_to_a_node_has_the_largest_share():
    index = CircuitIndex(hand_made())
    assert path_to(index, "N0") == ("T", "N1", "N0") and path_to(index, "T") == ("T",)
    assert path_to(index, "E") == ("T", "N1", "E")  # .2 of N1; over N0 it is .3 · .5
    assert path_to(index, "nothing") is None


def test_the_grid_counts_nodes_and_sums_their_scores():
    grid = grid_of(hand_made())
    assert grid.layers == (2, 1, 0, -1) and grid.positions == (0, 1)
    assert grid.cells[Place(1, 1)] == (1, -0.5) and grid.cells[Place(2, 1)] == (1, None)
    assert Place(0, 1) not in grid.cells and grid.largest == 2.0  # the rest node is not counted
    assert grid_of(Graph(PROMPT, 2, (), ())).largest == 0.0
