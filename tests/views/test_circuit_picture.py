"""The static picture of a circuit: well-formed, complete, and with hostile text as text."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from circuits_made import made_graph

from neuron_signatures.runs.circuits.graph import Graph
from neuron_signatures.views.circuit.layout import lay_out
from neuron_signatures.views.circuit.picture import picture
from neuron_signatures.views.circuit.shown import show

SVG = "{http://www.w3.org/2000/svg}"


def drawn(graph: Graph) -> ElementTree.Element:
    shown = show(graph)
    return ElementTree.fromstring(picture(shown, lay_out(shown)))


def test_every_node_and_edge_is_in_the_picture():
    graph = made_graph()
    root = drawn(graph)
    shown = show(graph)
    assert len(root.findall(f"{SVG}g")) == len(shown.items)
    paths = root.findall(f"{SVG}path")
    assert len(paths) == len(shown.edges)
    negative = [p for p in paths if "m" in p.attrib["class"].split()]
    assert len(negative) == sum(e.weight < 0 for e in shown.edges) > 0
    names = [t.text or "" for t in root.iter(f"{SVG}text")]
    assert any(n.startswith("▲L0N0") for n in names) and any(n.startswith("▼") for n in made_names(made_graph))


def made_names(make) -> list[str]:
    return [t.text or "" for t in drawn(make(neurons_per_place=2)).iter(f"{SVG}text")]


def test_hostile_text_is_text_of_bounded_length():
    graph = made_graph()
    long = replace(graph.nodes[6], label="\u202e\x1b]0;x\x07<script>" + "x" * 10_000)
    graph = replace(graph, nodes=(*graph.nodes[:6], long, *graph.nodes[7:]))
    root = drawn(graph)
    assert {e.tag for e in root.iter()} == {f"{SVG}{n}" for n in
                                            ("svg", "title", "style", "line", "text", "rect", "path", "g")}  # fmt: skip
    attributes = {name for e in root.iter() for name in e.attrib}
    assert not {a for a in attributes if a.startswith("on") or "href" in a}
    texts = [e.text or "" for e in root.iter()]
    assert all(t.isprintable() for t in texts)
    assert max(len(t) for t in texts if "ns-circuit" not in t) < 1000
