"""The places of nodes on the canvas, and the lists of one node."""

from __future__ import annotations

import itertools

import pytest
from circuit_chain import CHAIN, Named
from circuits_made import made_graph

from neuron_signatures.runs.circuits.graph import Edge, Graph, HeadShare, Node, Prompt
from neuron_signatures.views.circuit.labels import canvas_name, node_name, said_of, sign_of
from neuron_signatures.views.circuit.layout import Layout, lay_out
from neuron_signatures.views.circuit.lists import CircuitIndex
from neuron_signatures.views.circuit.shown import MOST_NODES, Thresholds, show


def overlap_free(layout: Layout) -> None:
    for a, b in itertools.combinations(layout.boxes, 2):
        assert a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y, (a, b)
    for box in layout.boxes:
        assert box.x >= 0 and box.x + box.width <= layout.width and box.y >= 0
        assert box.y + box.height <= layout.height


@pytest.mark.parametrize("n", [0, 1, 7, 40])
def test_nodes_do_not_overlap_and_stand_in_their_column_and_row(n: int):
    graph = made_graph(neurons_per_place=n) if n else CHAIN
    shown = show(graph, Thresholds(max_nodes=MOST_NODES))
    layout = lay_out(shown)
    overlap_free(layout)
    assert len(layout.boxes) == len(shown.items)
    columns, rows = {c.pos: c for c in layout.columns}, {r.layer: r for r in layout.rows}
    boxes = {b.id: b for b in layout.boxes}
    for item in shown.items:
        box, column, row = boxes[item.id], columns[item.node.pos], rows[item.node.layer]
        assert column.x <= box.x + 1e-6 and box.x + box.width <= column.x + column.width + 1e-6
        assert row.y <= box.y and box.y + box.height <= row.y + row.height


def test_the_target_is_on_top_and_embeddings_at_the_bottom():
    layout = lay_out(show(made_graph()))
    by_height = sorted(layout.boxes, key=lambda b: b.y)
    assert by_height[0].id == "3_9_4" and by_height[-1].id.startswith(("E_", "C"))
    assert [r.label for r in layout.rows] == ["logit", "1", "0", "emb"]
    assert [c.pos for c in layout.columns] == [-1, 0, 1, 2, 3, 4]
    assert all(c.label.isprintable() for c in layout.columns)


def test_many_nodes_in_one_place_and_many_tokens():
    tokens = tuple(f" token{i}" for i in range(40))
    prompt = Prompt("p", "", tuple(range(40)), tokens, 39, 1, "x", 0.1)
    nodes = tuple(Node(f"n{i}", "neuron", 3, 39, i, influence=0.5) for i in range(149))
    target = Node("t", "target", 30, 39)
    graph = Graph(prompt, 30, (*nodes, target), tuple(Edge(n.id, "t", 1.0) for n in nodes))
    layout = lay_out(show(graph))
    overlap_free(layout)
    assert sum(r.is_empty for r in layout.rows) == 30 and layout.height < 2000


def test_a_collapsed_group_stands_between_its_nodes():
    shown = show(CHAIN, groups=[Named("g", "x", ("a", "b", "c"))], collapsed=["g"])
    layout = lay_out(shown)
    overlap_free(layout)
    box = next(b for b in layout.boxes if b.id == "group:g")
    row = next(r for r in layout.rows if r.layer == 1)
    assert row.y <= box.y < row.y + row.height


def test_lists_are_sorted_and_say_what_is_missing():
    heads = (HeadShare("a", "b", 1, 0, 0.1), HeadShare("a", "b", 1, 3, -0.5))
    nodes = (Node("a", "neuron", 0, 0, 1, activation=2.0, reference=0.5),
             Node("c", "neuron", 0, 0, 2, activation=-1.0, reference=0.5),
             Node("b", "neuron", 1, 0, 3, activation=1.5, incoming_abs=6.0, shown_abs=3.0, rest_abs=1.0),
             Node("t", "target", 2, 0, activation=1.0))  # fmt: skip
    edges = (Edge("c", "b", 1.0), Edge("a", "b", -2.0, -1.5, -1.25), Edge("b", "t", 4.0))
    graph = Graph(Prompt("p", "x", (1,), ("x",), 0, 1, "y", 0.5), 2, nodes, edges, heads)
    found = CircuitIndex(graph).lists("b")
    assert found is not None
    assert [(e.other.id, e.weight, e.total, e.measured) for e in found.incoming] == [
        ("a", -2.0, -1.5, -1.25), ("c", 1.0, None, None),
    ]  # fmt: skip
    assert [h.head for h in found.incoming[0].heads] == [3, 0]
    assert found.incoming[0].strength == pytest.approx(2 / 6)
    assert (found.incoming_sum, found.missing, found.missing_abs, found.cancellation) == (-1.0, 2.5, 3.0, 4.0)
    assert [e.other.id for e in found.outgoing] == ["t"]
    lonely = CircuitIndex(graph).lists("a")
    assert lonely is not None and not lonely.incoming and lonely.missing is None and lonely.cancellation is None
    assert CircuitIndex(graph).lists("none") is None
    assert (sign_of(nodes[0]), sign_of(nodes[1]), sign_of(nodes[2]), sign_of(nodes[3])) == ("+", "-", "+", "")


def test_texts_are_escaped():
    graph = made_graph()
    for item in show(graph).items:
        for text in (canvas_name(item), said_of(item), node_name(item.node, graph.prompt)):
            assert text.isprintable()
