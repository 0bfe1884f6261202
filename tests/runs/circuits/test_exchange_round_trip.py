"""A circuit that is written as attribution-graph JSON comes back as the same circuit."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from circuits_made import EVIL, MARKUP, N_LAYERS, made_graph
from exchange_cases import SETTINGS, edited, made_groups, write_graph

from neuron_signatures.runs.circuits.exchange.from_json import import_graph, imported_circuit
from neuron_signatures.runs.circuits.exchange.to_json import MAX_BYTES, graph_json
from neuron_signatures.runs.circuits.graph import Graph, HeadShare, Node
from neuron_signatures.runs.circuits.groups import Group, GroupsFile
from neuron_signatures.runs.errors import UsageError


@pytest.mark.parametrize("neurons_per_place", [1, 15])
def test_a_graph_and_its_groups_come_back(tmp_path, neurons_per_place):
    graph = made_graph(neurons_per_place=neurons_per_place)
    groups = made_groups(graph)
    found = import_graph(write_graph(tmp_path, graph, groups))
    assert found.graph == graph
    assert found.groups == groups


def test_a_graph_of_one_node_comes_back(tmp_path):
    prompt = made_graph().prompt
    graph = Graph(prompt, N_LAYERS, (Node("3_9_4", "target", N_LAYERS, 4, None, 9, " x"),), ())
    assert import_graph(write_graph(tmp_path, graph)) == (graph, GroupsFile())


def test_numbers_come_back_exactly(tmp_path):
    graph = made_graph()
    edge = replace(graph.edges[0], weight=1 / 3, total=-1e-300, measured=2**60 / 3)
    graph = replace(graph, edges=(edge, *graph.edges[1:]))
    assert import_graph(write_graph(tmp_path, graph)).graph.edges[0] == edge


def test_the_settings_and_facts_of_the_record_come_back(tmp_path):
    circuit = imported_circuit(write_graph(tmp_path, made_graph()))
    assert circuit.name == "made"
    assert circuit.settings == dict(SETTINGS.settings)
    assert circuit.facts["completeness"] == 0.5 and circuit.facts["replacement"] is None
    assert circuit.facts["n_layers"] == N_LAYERS
    assert circuit.facts["prompt"]["target_probability"] == 0.75
    assert circuit.facts["imported"]["generator"]["name"] == "neuron-signatures"
    assert circuit.facts["imported"]["pruning"] == {"node_threshold": 0.8, "edge_threshold": 0.98}


def test_facts_that_are_no_numbers_are_kept_apart(tmp_path):
    facts = {"completeness": "evil", "groups": [1], "imported": {"facts": {}}, "n_nodes": 3}
    path = edited(write_graph(tmp_path, made_graph()), lambda c: c["neuron_signatures"].update(facts=facts))
    found = imported_circuit(path).facts
    assert found.keys() == {"n_nodes", "imported", "prompt", "n_layers"}
    assert found["imported"]["facts"] == {"completeness": "evil", "groups": [1]}


@pytest.mark.parametrize("share", ["x", True, 7, [1], None])
def test_settings_of_an_imported_circuit_can_be_anything(share):
    settings = replace(SETTINGS, node_share=share, edge_share=share, settings={"node_share": share})
    assert graph_json(made_graph(), settings=settings).metadata.pruning_settings.node_threshold is None


def test_a_surrogate_in_the_settings_becomes_an_escape(tmp_path):
    path = edited(
        write_graph(tmp_path, made_graph()), lambda c: c["neuron_signatures"]["settings"].update(evil="\ud800")
    )
    assert imported_circuit(path).settings["evil"] == "\\ud800"


def test_a_large_graph_loses_its_weakest_edges_and_says_so(tmp_path, caplog):
    graph = made_graph(neurons_per_place=15)
    whole = write_graph(tmp_path, graph).stat().st_size
    path = write_graph(tmp_path, graph, max_bytes=whole - 20_000)
    assert whole - 21_000 < path.stat().st_size <= whole - 20_000
    content = json.loads(path.read_text())
    dropped = len(graph.edges) - len(content["links"])
    assert 0 < dropped == content["neuron_signatures"]["dropped_links"]
    assert f"{dropped} of the weakest edges" in content["metadata"]["info"]["description"]
    assert f"the {dropped} weakest of {len(graph.edges)} edges are left out" in caplog.text
    kept = {(link["source"], link["target"]) for link in content["links"]}
    shares = {(e.source, e.target): e.share for e in graph.edges}
    assert max(shares[e] for e in kept) <= min(share for e, share in shares.items() if e not in kept)
    found = import_graph(path).graph
    assert set(found.edges) < set(graph.edges)
    assert f"{dropped} of the weakest edges were left out" in caplog.text


def with_heads_of_every_edge(graph: Graph) -> Graph:
    return replace(graph, heads=tuple(HeadShare(e.source, e.target, 1, i, 0.5) for e in graph.edges for i in range(4)))


def test_heads_are_dropped_before_edges(tmp_path, caplog):
    graph = with_heads_of_every_edge(made_graph(neurons_per_place=5))
    without = write_graph(tmp_path, replace(graph, heads=())).stat().st_size
    found = import_graph(write_graph(tmp_path, graph, max_bytes=without + 2000)).graph
    assert found.edges == graph.edges
    assert 0 < len(found.heads) < len(graph.heads) and set(found.heads) < set(graph.heads)
    n = len({(h.source, h.target) for h in set(graph.heads) - set(found.heads)})
    assert f"the heads of the {n} weakest of {len(graph.edges)} edges are left out" in caplog.text
    assert f"the heads of {n} edges were left out" in caplog.text


def test_an_edge_that_is_dropped_has_no_heads(tmp_path):
    graph = with_heads_of_every_edge(made_graph(neurons_per_place=5))
    without = write_graph(tmp_path, replace(graph, heads=())).stat().st_size
    found = import_graph(write_graph(tmp_path, graph, max_bytes=without - 2000)).graph
    assert 0 < len(found.edges) < len(graph.edges)
    assert {(h.source, h.target) for h in found.heads} <= {(e.source, e.target) for e in found.edges}


def test_nodes_that_are_too_large_are_refused():
    with pytest.raises(UsageError, match=r"the nodes alone take .* the file may have 1\.0 kB"):
        graph_json(made_graph(), settings=SETTINGS, max_bytes=1000)


def test_150_nodes_are_far_from_the_limit(tmp_path):
    assert write_graph(tmp_path, made_graph(neurons_per_place=15)).stat().st_size < MAX_BYTES / 20


def test_members_of_groups_are_pinned_because_viewers_draw_only_those(tmp_path):
    graph = made_graph()
    groups = made_groups(graph)
    params = graph_json(graph, groups, settings=SETTINGS).qParams
    ids = [n.id for n in graph.nodes if n.kind == "neuron"]
    assert params.pinnedIds == ids[:4]
    assert [members for _, *members in params.supernodes] == [ids[1:3], ids[3:4]]


def test_labels_of_supernodes_are_unique_and_no_ids():
    graph = made_graph()
    ids = [n.id for n in graph.nodes if n.kind == "neuron"]
    labels = ["same", "same", ids[0], "", "supernode-1"]
    groups = GroupsFile(
        groups=tuple(Group(id=f"g{i}", label=x, nodes=(ids[i],)) for i, x in enumerate(labels, start=1))
    )
    supernodes = graph_json(graph, groups, settings=SETTINGS).qParams.supernodes
    assert [s[0] for s in supernodes] == ["same", "same (2)", f"{ids[0]} (2)", "group", "supernode-1 (2)"]


def saved_by_a_viewer(content: dict, **changes: object) -> None:
    """As the local viewer saves: texts, and null for what has not changed."""
    content["qParams"] = dict.fromkeys(content["qParams"]) | {"pruningThreshold": None} | changes


def test_what_a_viewer_saved_without_a_change_keeps_the_groups(tmp_path):
    graph = made_graph()
    groups = made_groups(graph)
    path = write_graph(tmp_path, graph, groups)
    supernodes = json.loads(path.read_text())["qParams"]["supernodes"]
    edited(path, lambda c: saved_by_a_viewer(c, supernodes=json.dumps(supernodes), clerps="[]"))
    assert import_graph(path) == (graph, groups)


def test_pins_groups_and_names_that_a_person_changed_in_a_viewer_win(tmp_path):
    graph = made_graph()
    groups = made_groups(graph)
    ids = [n.id for n in graph.nodes if n.kind == "neuron"]
    path = write_graph(tmp_path, graph, groups)
    supernodes = json.loads(path.read_text())["qParams"]["supernodes"]
    renamed = [["mine", *supernodes[0][1:]], supernodes[1], ["new", ids[5], ids[6]]]
    feature = next(n for n in json.loads(path.read_text())["nodes"] if n["node_id"] == ids[0])["feature"]

    def change(content: dict) -> None:
        saved_by_a_viewer(
            content, supernodes=json.dumps(renamed), pinnedIds=",".join([ids[0], ids[1], ids[8], "gone"]),
            clerps=json.dumps([[str(feature), "my name"]]),
        )  # fmt: skip

    found = import_graph(edited(path, change))
    assert found.groups.pinned == (ids[0], ids[8], "1_999_3")  # not ids[1], a member; the viewer never had the last
    assert [(g.id, g.label, g.nodes, g.source) for g in found.groups.groups] == [
        ("a", "mine", (ids[1], ids[2], "1_998_3"), "person"),
        ("b", MARKUP, (ids[3],), "suggested"),
        ("g1", "new", (ids[5], ids[6]), "person"),
    ]
    labels = {n.id: n.label for n in found.graph.nodes}
    assert labels[ids[0]] == "my name"
    assert {labels[i] for i in ids[1:]} == {EVIL, "my name"}  # every position of the neuron has its name
