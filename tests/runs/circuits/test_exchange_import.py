"""Files of other generators are read, and files that contradict themselves are refused with their path and field."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from circuits_made import made_graph
from exchange_cases import edited, foreign_file, made_groups, write_graph

from neuron_signatures.runs.circuits.exchange.from_json import import_graph, imported_circuit
from neuron_signatures.runs.circuits.graph import Edge
from neuron_signatures.runs.errors import MAX_LINE, UsageError

MB = 1 << 20


def test_a_graph_of_another_generator(tmp_path, caplog):
    graph, groups = import_graph(foreign_file(tmp_path / "cat.json"))
    kinds = {n.id: (n.kind, n.layer, n.pos, n.neuron) for n in graph.nodes}
    assert kinds == {
        "E_464_0": ("embedding", -1, 0, None), "0_7_0": ("neuron", 0, 0, 7), "2_5_1": ("neuron", 2, 1, 5),
        "0_1_1": ("rest", 1, 1, None), "lorsa:3": ("rest", 2, 1, None), "4_11_1": ("target", 3, 1, None),
        "4_9_1": ("target", 3, 1, None),
    }  # fmt: skip
    assert graph.n_layers == 3
    assert graph.edges[1] == Edge("0_7_0", "2_5_1", -1.5)
    nodes = {n.id: n for n in graph.nodes}
    assert (nodes["0_7_0"].label, nodes["0_7_0"].activation, nodes["0_7_0"].reference) == ("articles", 3.5, None)
    assert nodes["lorsa:3"].label == "lorsa: copies"
    prompt = graph.prompt
    assert (prompt.text, prompt.tokens, prompt.token_ids) == ("The fat", ("The", " fat"), (464, -1))
    assert (prompt.target, prompt.target_id, prompt.target_probability, prompt.value) == (" cat", 9, 0.7, None)
    assert next(n for n in graph.nodes if n.kind == "target").id == "4_9_1"
    assert [(g.label, g.nodes) for g in groups.groups] == [("the cat", ("0_7_0", "2_5_1"))]
    assert "2 units of other-model are features of another generator" in caplog.text
    assert "explains 2 logits" in caplog.text
    assert "1 nodes of the unknown type 'lorsa' are shown as rest nodes" in caplog.text


def test_a_graph_of_another_generator_gets_a_safe_name(tmp_path):
    circuit = imported_circuit(foreign_file(tmp_path / "cat.json"))
    assert circuit.name.startswith("id_the_cat_")
    assert circuit.settings == {} and circuit.facts["imported"]["scan"] == "other-model"


def test_a_feature_number_without_a_customary_id_is_a_cantor_pair(tmp_path):
    def rename(content: dict) -> None:
        content["nodes"][2]["node_id"] = content["links"][1]["target"] = content["links"][2]["target"] = "other"
        content["links"][3]["source"] = "other"
        content["qParams"] = {}

    graph, _ = import_graph(edited(foreign_file(tmp_path / "cat.json"), rename))
    assert next(n.neuron for n in graph.nodes if n.id == "other") == 5


def set_node(i: int, **values: object):
    return lambda content: content["nodes"][i].update(values)


def own(**values: object):
    return lambda content: content["neuron_signatures"].update(values)


def own_node(i: int, **values: object):
    return lambda content: content["nodes"][i]["neuron_signatures"].update(values)


def reverse_a_link(content: dict) -> None:
    first = content["links"][0]
    content["links"].append({"source": first["target"], "target": first["source"], "weight": 1.0})


NEURON = 6  # after five embeddings and the constant
WRONG = {
    "an id twice": (set_node(1, node_id="E_2_0"), "nodes: node_id 'E_2_0' is used twice"),
    "a link to nothing": (lambda c: c["links"][2].update(target="9_9_9"), "links.2.target: there is no node '9_9_9'"),
    "a link twice": (lambda c: c["links"].append(c["links"][0]), "there are two links from '0_0_0' to '3_9_4'"),
    "a circle": (reverse_a_link, "links: links lead in a circle"),
    "a weight as text": (lambda c: c["links"][0].update(weight="1"), "field links.0.weight: Input should be a valid"),
    "a weight of 1e99999": (lambda c: c["links"][0].update(weight=10**99), "20 digits"),
    "no prompt tokens": (lambda c: c["metadata"].update(prompt_tokens=[]), "field metadata.prompt_tokens"),
    "no nodes": (lambda c: c.update(nodes=[], links=[]), "field nodes: List should have at least 1 item"),
    "nodes of another type": (lambda c: c.update(nodes={"a": 1}), "field nodes: Input should be a valid list"),
    "a list on top": (None, "field (top level)"),
    "a control character in an id": (set_node(NEURON, node_id="0_0\x1b_0"), "there is no node"),
    "a strange id": (lambda c: c["nodes"].append({**c["nodes"][0], "node_id": "a b"}), "node_id 'a b' is not allowed"),
    "a layer beyond the model": (own_node(NEURON, layer=10**6), "layer 1000000 of a neuron is not in 0..1"),
    "a position beyond the prompt": (own_node(NEURON, pos=5), "position 5 is not in 0..4"),
    "a neuron without a number": (own_node(NEURON, neuron=None), "has no number of its neuron"),
    "a number too large for tables": (own_node(NEURON, neuron=2**31), "is negative or too large"),
    "an unknown kind": (own_node(NEURON, kind="evil"), "nodes.6.neuron_signatures: field kind"),
    "an unknown field": (own_node(NEURON, evil=1), "unknown field 'evil'"),
    "a node without our fields": (set_node(0, neuron_signatures=None), "lacks its field neuron_signatures"),
    "a newer version": (own(format_version=2), "neuron_signatures.format_version is 2, this version reads 1"),
    "a prompt without ids": (lambda c: c["neuron_signatures"]["prompt"].update(token_ids=[]), "5 tokens and 0 ids"),
    "a target beyond the prompt": (lambda c: c["neuron_signatures"]["prompt"].update(target_pos=7), "target_pos 7"),
    "heads of no edge": (own(heads=[{"source": "a", "target": "b", "heads": [[0, 0, 1.0]]}]), "which is not there"),
    "a head of no layer": (
        own(heads=[{"source": "0_0_0", "target": "3_9_4", "heads": [[7, 0, 1.0]]}]), "no head 0 of layer 7",
    ),
    "a huge number of layers": (own(n_layers=10**9), "field neuron_signatures.n_layers"),
    "groups that overlap": (
        own(groups={"groups": [{"id": i, "label": "", "nodes": ["x"]} for i in "ab"]}), "is there twice",
    ),
    "supernodes that are no lists": (lambda c: c["qParams"].update(supernodes='{"a": 1}'), "qParams.supernodes"),
    "supernodes that are no JSON": (lambda c: c["qParams"].update(supernodes="[[["), "is text that is not JSON"),
    "a surrogate in a saved label": (
        lambda c: c["qParams"].update(supernodes=r'[["\ud800", "0_0_0"]]'), "qParams: field label: ",
    ),
    "a label of 10 MB": (set_node(NEURON, clerp="x" * 10 * MB), "field nodes.6.clerp: String should have at most"),
    "a label of ours of 10 MB": (own_node(NEURON, label="x" * 10 * MB), "a text has 10485760 characters"),
    "a surrogate in a label": (set_node(NEURON, clerp="\ud800"), "field nodes.6.clerp"),
    "a surrogate in our label": (own_node(NEURON, label="\ud800"), "nodes.6"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_damaged_file_is_refused_with_its_field(tmp_path, name):
    graph = made_graph()
    path = write_graph(tmp_path, graph, made_groups(graph))
    change, reason = WRONG[name]
    if change is None:
        path.write_text("[1, 2]")
    else:
        edited(path, change)
    with pytest.raises(UsageError) as e:
        import_graph(path)
    line = str(e.value)
    assert reason in line.replace("\\'", "'")
    assert len(line) <= MAX_LINE and line.isprintable()
    assert "made.json" in line


FOREIGN_WRONG = {
    "no logit": (set_node(5, feature_type="bias"), set_node(6, feature_type="bias"), "there is no logit node"),
    "a position outside": (set_node(1, ctx_idx=2), None, "nodes.1: ctx_idx 2 is not in 0..1"),
    "a layer that is no number": (set_node(2, layer="two"), None, "layer 'two' is not a number"),
    "the layer of a unit is E": (set_node(2, layer="E"), None, "layer 'E' is not a number"),
    "no feature number": (
        set_node(2, feature=None, layer=1), None, "nodes.2: has no feature number",
    ),
    "a feature number too large": (set_node(2, feature=2**62, layer=1), None, "is too large"),
    "no type": (lambda c: c["nodes"][2].pop("feature_type"), None, "field nodes.2.feature_type: Field required"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN_WRONG)
def test_a_damaged_file_of_another_generator_is_refused(tmp_path, name):
    first, second, reason = FOREIGN_WRONG[name]
    path = edited(foreign_file(tmp_path / "cat.json"), first)
    if second is not None:
        edited(path, second)
    with pytest.raises(UsageError) as e:
        import_graph(path)
    assert reason in str(e.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not valid JSON"),
        ('{"nodes": [NaN]}', "NaN is not JSON"),
        ('{"nodes": [Infinity]}', "Infinity is not JSON"),
        ("[" * 100_000, "nested deeper"),
        ('{"nodes": [], "nodes": []}', "appears twice"),
        ("\ufeff\ufeff{}", "not valid JSON"),
    ],
)
def test_only_strict_json_of_a_bounded_depth_is_read(tmp_path, text, reason):
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=reason):
        import_graph(path)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "x.json"
    with path.open("wb") as f:
        f.truncate(65 * MB)
    with pytest.raises(UsageError, match="larger than"):
        import_graph(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no such file"):
        import_graph(tmp_path / "none.json")
    with pytest.raises(UsageError, match="regular file"):
        import_graph(tmp_path)


def test_supernodes_of_another_generator_that_overlap_lose_the_second_membership(tmp_path, caplog):
    supernodes = [["one", "0_7_0", "2_5_1"], ["two", "2_5_1", "gone"], ["three", "0_7_0"], ["empty"], []]
    path = edited(foreign_file(tmp_path / "cat.json"), lambda c: c["qParams"].update(supernodes=supernodes))
    groups = import_graph(path).groups
    assert [(g.id, g.label, g.nodes) for g in groups.groups] == [("g1", "one", ("0_7_0", "2_5_1"))]
    assert "loses 2 members" in caplog.text


def test_a_long_label_of_a_supernode_is_cut(tmp_path):
    path = edited(
        foreign_file(tmp_path / "cat.json"), lambda c: c["qParams"].update(supernodes=[["x" * 1000, "0_7_0"]])
    )
    assert import_graph(path).groups.groups[0].label == "x" * 199 + "…"


def test_a_file_without_what_viewers_save_has_no_groups(tmp_path):
    path = edited(foreign_file(tmp_path / "cat.json"), lambda c: c.pop("qParams"))
    groups = import_graph(path).groups
    assert groups.pinned == () and groups.groups == ()


def test_hostile_texts_come_back_raw(tmp_path):
    graph = made_graph()
    odd = replace(graph.nodes[NEURON], label="\x1b]0;x\x07\u202e</script>", promotes=("\x00", "\u0301"))
    nodes = (*graph.nodes[:NEURON], odd, *graph.nodes[NEURON + 1 :])
    path = write_graph(tmp_path, replace(graph, nodes=nodes))
    assert import_graph(path).graph.nodes[NEURON] == odd
    assert "\x1b" not in json.loads(path.read_text())["nodes"][NEURON]["clerp"]
