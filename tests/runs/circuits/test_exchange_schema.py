"""The file follows the schema of attribution graphs, written down here again, and avoids what viewers stumble over."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from circuits_made import EVIL, TOKENS, made_graph
from exchange_cases import SETTINGS, made_groups, write_graph

from neuron_signatures.runs.circuits.exchange.texts import cantor_pair, cantor_unpair
from neuron_signatures.runs.circuits.exchange.to_json import graph_json

NUMBER = (int, float)
METADATA = {"slug": str, "scan": str, "prompt_tokens": list, "prompt": str}
OPTIONAL_METADATA = {
    "node_threshold": NUMBER, "info": dict, "generation_settings": dict, "pruning_settings": dict,
    "schema_version": int, "transcoder_list": list,
}  # fmt: skip
Q_PARAMS = {"pinnedIds": list, "supernodes": list, "linkType": str, "clickedId": str, "sg_pos": str}
NODE = {
    "node_id": str, "feature": int, "layer": str, "ctx_idx": int, "feature_type": str, "jsNodeId": str, "clerp": str,
}  # fmt: skip
OPTIONAL_NODE = {
    "influence": (*NUMBER, type(None)), "activation": (*NUMBER, type(None)), "token_prob": NUMBER,
    "is_target_logit": bool, "neuron_signatures": dict,
}  # fmt: skip
LINK = {"source": str, "target": str, "weight": NUMBER}
OPTIONAL_LINK = {"total": NUMBER, "measured": NUMBER, "share": NUMBER}
TYPES = {"cross layer transcoder", "mlp reconstruction error", "embedding", "logit"}


def check_fields(value: dict, required: dict, optional: dict) -> None:
    assert required.keys() <= value.keys() <= required.keys() | optional.keys()
    for name, kind in {**required, **optional}.items():
        if name in value:
            assert isinstance(value[name], kind) and (kind is bool or not isinstance(value[name], bool)), name


@pytest.fixture(params=[1, 15])
def content(request, tmp_path) -> dict:
    graph = made_graph(neurons_per_place=request.param)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = write_graph(tmp_path, graph, made_groups(graph)).read_bytes().decode("utf-8")
    return json.loads(text, parse_constant=refuse)


def test_fields_have_the_types_of_the_schema(content):
    assert {"metadata", "qParams", "nodes", "links"} <= content.keys()
    check_fields(content["metadata"], METADATA, OPTIONAL_METADATA)
    info = content["metadata"]["info"]
    assert info["generator"] == {"name": "neuron-signatures", "version": info["generator"]["version"]}
    assert info["create_time_ms"] == SETTINGS.create_time_ms
    assert content["metadata"]["pruning_settings"] == {"node_threshold": 0.8, "edge_threshold": 0.98}
    check_fields(content["qParams"], Q_PARAMS, {})
    assert content["qParams"]["linkType"] == "both"
    for node in content["nodes"]:
        check_fields(node, NODE, OPTIONAL_NODE)
        assert node["feature_type"] in TYPES
        assert 0 <= node["ctx_idx"] < len(TOKENS)
    for link in content["links"]:
        check_fields(link, LINK, OPTIONAL_LINK)


def test_ids_are_unique_and_links_and_pins_have_nodes(content):
    ids = [node["node_id"] for node in content["nodes"]]
    assert len(set(ids)) == len(ids)
    assert {link[end] for link in content["links"] for end in ("source", "target")} <= set(ids)
    assert set(content["qParams"]["pinnedIds"]) <= set(ids)
    assert content["qParams"]["clickedId"] in ids
    assert all(set(members) <= set(content["qParams"]["pinnedIds"])
               for _, *members in content["qParams"]["supernodes"])  # fmt: skip


def test_ids_and_numbers_follow_the_conventions(content):
    for node in content["nodes"]:
        layer, pos = node["layer"], node["ctx_idx"]
        match node["feature_type"]:
            case "cross layer transcoder":
                x = int(layer)
                i = int(node["node_id"].split("_")[1])
                assert node["node_id"] == f"{layer}_{i}_{pos}" and node["jsNodeId"] == f"{layer}_{i}-0"
                assert node["feature"] == (x + i) * (x + i + 1) / 2 + i
            case "embedding":
                token = node["node_id"].split("_")[1]
                assert node["node_id"] == f"E_{token}_{pos}" and node["jsNodeId"] == f"E_{token}-{pos}"
                assert layer == "E"
            case "logit":
                assert node["node_id"] == f"3_9_{pos}" and node["jsNodeId"] == f"L_9-{pos}" and layer == "3"
            case "mlp reconstruction error":
                assert node["node_id"] in ("C", f"R_{layer}_{pos}")  # not `0_layer_pos`, which neurons can have


def test_the_logit_has_its_probability_where_viewers_look_for_it(content):
    (logit,) = [n for n in content["nodes"] if n["feature_type"] == "logit"]
    assert float(logit["clerp"].split("(p=")[1].split(")")[0]) == 0.75
    assert logit["clerp"].split('"')[1].startswith(" ")
    assert logit["token_prob"] == 0.75 and logit["is_target_logit"] is True


def test_a_token_that_looks_like_a_probability_does_not_hide_it():
    graph = made_graph()
    prompt = replace(graph.prompt, target='"(p=x)', foil="(p=0.9)")
    logit = graph_json(replace(graph, prompt=prompt), settings=SETTINGS).nodes[-1]
    assert float(logit.clerp.split("(p=")[1].split(")")[0]) == 0.75


def test_no_threshold_hides_a_node_at_first(content):
    threshold = content["metadata"]["node_threshold"]
    assert all("influence" in node for node in content["nodes"])
    assert all(node["influence"] is None or node["influence"] <= threshold for node in content["nodes"])


def test_the_name_of_the_model_is_a_local_folder(content):
    assert content["metadata"]["scan"] == "./data/features/model"
    assert content["metadata"]["schema_version"] == 1


def test_labels_name_the_neuron_its_sign_its_tokens_and_its_label():
    graph = made_graph()
    plus, minus = (n for n in made_graph(neurons_per_place=2).nodes if n.id in ("0_0_0", "0_1_0"))
    plus, minus = replace(plus, label="says Texas", promotes=(" Austin", " Texas")), replace(minus, promotes=())
    named = replace(plus, id="0_0_1", label="promotes Austin, Texas")
    nodes = graph_json(replace(graph, nodes=(plus, minus, named), edges=(), heads=()), settings=SETTINGS).nodes
    labels = ["says Texas (L0N0+) → Austin, Texas", "L0N1-", "promotes Austin, Texas (L0N0+)"]
    assert [n.clerp for n in nodes] == labels


def test_the_sign_is_of_the_difference_from_the_reference():
    graph = made_graph()
    node = next(n for n in graph.nodes if n.kind == "neuron")
    below = replace(node, activation=0.1, reference=0.25, label="", promotes=())
    (found,) = graph_json(replace(graph, nodes=(below,), edges=(), heads=()), settings=SETTINGS).nodes
    assert found.clerp == "L0N0-"


def test_texts_that_viewers_show_hold_no_html_and_no_control_characters(content):
    meta, params = content["metadata"], content["qParams"]
    texts = [*meta["prompt_tokens"], meta["prompt"], *(n["clerp"] for n in content["nodes"])]
    texts += [text for supernode in params["supernodes"] for text in supernode]
    texts += [str(v) for v in meta["generation_settings"].values()]
    assert any("EVIL" in text for text in texts)
    assert not any(c in text for text in texts for c in "<>\x1b\u202e")
    assert meta["prompt"] == "".join(meta["prompt_tokens"])


def test_the_exact_texts_are_in_fields_that_viewers_ignore(content):
    assert content["neuron_signatures"]["prompt"]["tokens"] == list(TOKENS)
    assert content["neuron_signatures"]["groups"]["groups"][0]["label"] == EVIL


@pytest.mark.parametrize(("layer", "neuron"), [(0, 0), (0, 7), (18, 3428), (125, 53247), (1000, 200_000)])
def test_feature_numbers_are_reversible_in_the_arithmetic_of_a_browser(layer, neuron):
    number = cantor_pair(layer, neuron)
    assert cantor_unpair(number) == (layer, neuron)
    total = math.floor((math.sqrt(8.0 * number + 1) - 1) / 2)  # doubles, as in JavaScript
    index = number - (total * total + total) / 2
    assert (total - index, index) == (layer, neuron)


def test_a_circuit_in_layer_0_alone_is_written_with_a_warning(caplog):
    graph = made_graph()
    low = tuple(n for n in graph.nodes if n.layer <= 0)
    graph_json(replace(graph, nodes=low, edges=(), heads=()), settings=SETTINGS)
    assert "some public viewers cannot draw such a graph" in caplog.text
