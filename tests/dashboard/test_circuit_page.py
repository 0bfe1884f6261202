"""The view Circuit on hand-made circuits: what is shown and hidden, lists, groups, edits, exports and damage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from analysis_runs import BOS, make_run, random_acts
from circuit_results import write_checks, write_common
from circuits_made import EVIL, MARKUP, made_graph, write_circuit
from explorer import open_page, read_as_markdown, shown
from fake_live import FakeClient, absent, facts, live_page
from streamlit.testing.v1 import AppTest

from neuron_signatures.api.live import InterveneRequest
from neuron_signatures.api.models import ModelState
from neuron_signatures.dashboard.circuit.canvas import canvas_data, picked_ids
from neuron_signatures.dashboard.circuit.edits import edit_request, predicted_change
from neuron_signatures.dashboard.circuit.exports import shown_graph, table_bytes
from neuron_signatures.runs.circuits.exchange.from_json import import_graph
from neuron_signatures.runs.circuits.folder import EDGES, NODES
from neuron_signatures.runs.circuits.groups import Group, GroupsFile, read_groups, write_groups
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.views.circuit.layout import lay_out
from neuron_signatures.views.circuit.shown import Thresholds, show

NEURON = "1_0_4"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prompts = {"p0": [BOS, *(f" t{i}" for i in range(4))]}
    make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=2, d_mlp=5))
    return tmp_path


@pytest.fixture
def made(root: Path) -> Path:
    write_circuit(root / "run")
    return root


def opened(root: Path, monkeypatch, **address: str) -> AppTest:
    page = open_page(root, monkeypatch, run="run", view="circuit", **address)
    assert not page.exception
    return page


def press(page: AppTest, key: str) -> AppTest:
    page.button(key).click().run()
    assert not page.exception
    return page


def frames(page: AppTest) -> list:
    return [f.value for f in page.dataframe]


def test_without_circuits_the_command_is_shown(root, monkeypatch):
    page = opened(root, monkeypatch)
    assert not page.error and "poc10_trace_circuit --run_dir" in shown(page) and "--prompt_id p0" in shown(page)


def test_a_hostile_circuit_is_text(made, monkeypatch):
    write_checks(made / "run")
    page = opened(made, monkeypatch, node=NEURON, circuit="made")
    assert not page.error
    markdown = read_as_markdown(page)
    assert "EVIL" not in markdown and "evil.invalid" not in markdown
    text = shown(page)
    assert "Shown: 15 of 27 nodes" in text and "kinds that are switched off" in text
    assert "\x1b" not in text and "<img" not in text
    assert "relevance" in text and "Σ|E| / |a| = 2.5" in text and "keep 0.95 of the target" in text


def test_lists_are_signed_and_complete(made, monkeypatch):
    page = opened(made, monkeypatch, circuit="made", node=NEURON)
    incoming, outgoing = frames(page)[:2]
    assert incoming["direct"].tolist() == [-0.25] * 3 and "total" not in incoming
    assert outgoing["direct"].tolist() == [pytest.approx(-3 / 7)] and "share" in outgoing
    assert "complete the value with +2.75" in shown(page)  # 2.0 - 3 * -0.25
    assert "nodes of the circuit have 40.0 %" in shown(page)
    target = opened(made, monkeypatch, circuit="made", node="3_9_4")
    assert "heads" in frames(target)[0] and "value" in shown(target)


def test_several_nodes_and_wrong_ones(made, monkeypatch):
    page = opened(made, monkeypatch, circuit="made", node=f"{NEURON},0_0_1,nonsense,<b>")
    assert len(frames(page)[0]) == 2 and "Σ total effects on the target: +0.400 logits" in shown(page)
    other = opened(made, monkeypatch, circuit="../../x")
    assert "There is no such circuit" in shown(other)


def test_thresholds_say_what_they_hide(made, monkeypatch):
    page = opened(made, monkeypatch)
    page.slider("ui_circuit_edge_share").set_value(10).run()
    assert "no shown edges lead on to the target" in shown(page) and "Shown: 2 of 27 nodes" in shown(page)
    page.slider("ui_circuit_edge_share").set_value(100).run()
    page.number_input("ui_circuit_nodes").set_value(3).run()
    assert "more nodes than are shown at once" in shown(page)
    page.number_input("ui_circuit_nodes").set_value(150).run()
    page.button_group("ui_circuit_kinds").set_value(["neuron", "embedding", "rest", "constant"]).run()
    assert "Shown: 19 of 27 nodes" in shown(page)  # rest nodes at other positions have no edges
    assert not page.exception


def test_paths_through_a_node(made, monkeypatch):
    page = press(opened(made, monkeypatch, circuit="made", node=NEURON), "circuit_paths")
    assert "not on a path through the chosen nodes" in shown(page)
    page = press(page, "circuit_all_paths")
    assert "not on a path" not in shown(page)


def test_pin_group_rename_and_ungroup_are_stored(made, monkeypatch):
    run_dir = made / "run"
    page = opened(made, monkeypatch, circuit="made", node=f"{NEURON},0_0_1")
    press(page, "circuit_pin")
    assert read_groups(run_dir, "made").pinned == ("0_0_1", NEURON)
    page.text_input("circuit_group_label").set_value(f" {EVIL}")
    press(page, "circuit_group")
    groups = read_groups(run_dir, "made").groups
    assert [(g.label, set(g.nodes)) for g in groups] == [(EVIL, {NEURON, "0_0_1"})]
    assert "1 group, 2 pins, made by people" in shown(page) and "EVIL" not in read_as_markdown(page)
    press(page, "circuit_collapse")
    assert "group of 2" in shown(page)
    page.text_input("circuit_group_label").set_value("Texas")
    press(page, "circuit_rename")
    assert read_groups(run_dir, "made").groups[0].label == "Texas"
    press(page, "circuit_expand")
    press(page, "circuit_unpin")
    press(page, "circuit_ungroup")
    left = read_groups(run_dir, "made")
    assert not left.groups and not left.pinned and left.origin == "person"


def test_groups_that_changed_meanwhile_are_not_written_over(made, monkeypatch):
    run_dir = made / "run"
    page = opened(made, monkeypatch, circuit="made", node=NEURON)
    other = GroupsFile(groups=(Group(id="g", label="other", nodes=("0_0_1",)),))
    write_groups(run_dir, "made", other, expected_etag=read_groups(run_dir, "made").etag)
    press(page, "circuit_pin")
    assert "has changed on disk" in shown(page) and not read_groups(run_dir, "made").pinned
    press(page, "circuit_pin")  # the page has read the new groups
    assert read_groups(run_dir, "made").pinned == (NEURON,) and read_groups(run_dir, "made").groups[0].label == "other"
    assert "Files of this run changed" not in shown(page)


def test_damaged_groups_are_reported_and_left_alone(made, monkeypatch):
    file = made / "run" / "circuits" / "made" / "groups.json"
    file.write_text("{", encoding="utf-8")
    page = opened(made, monkeypatch, circuit="made", node=NEURON)
    assert "groups: " in shown(page) and not [b for b in page.button if b.key == "circuit_pin"]
    assert file.read_text(encoding="utf-8") == "{"


def test_a_damaged_circuit_is_one_message(made, monkeypatch):
    write_circuit(made / "run", name="other")
    (made / "run" / "circuits" / "made" / "nodes.parquet").write_bytes(b"PAR1")
    page = opened(made, monkeypatch, circuit="made")
    assert page.error and "nodes.parquet" in shown(page)
    assert opened(made, monkeypatch, circuit="other").error == []
    (made / "run" / "circuits" / "made" / "trace_meta.json").write_text("{}", encoding="utf-8")
    page = opened(made, monkeypatch, circuit="other")
    assert "These folders hold no circuit that can be read" in shown(page)


def test_files_that_change_on_disk_are_reported(made, monkeypatch):
    page = opened(made, monkeypatch)
    write_circuit(made / "run", made_graph(neurons_per_place=2))
    page.run()
    assert "Files of this run changed on disk" in shown(page) and not page.exception


def test_tests_and_swaps_have_their_null(made, monkeypatch):
    text = shown(opened(made, monkeypatch))
    assert "has not been tested" in text and "--target_token_id 9 --foil_token_id 10 --target_pos 4 --name made" in text
    write_checks(made / "run")
    page = opened(made, monkeypatch)
    curves, swaps = frames(page)[-2:]
    assert curves["random keep"].tolist() == ["-0.020 ± 0.050", "0.010 ± 0.070"]
    assert curves["p keep"].tolist() == ["≤ 0.001", "≤ 0.001"]
    assert swaps["random moved"].tolist() == ["0.100 ± 0.300"] and swaps["p"].tolist() == ["≤ 0.0099"]
    assert swaps["flips"].tolist() == ["yes"] and swaps["group"][0] == EVIL and "\x1b" not in swaps["after"][0]


def test_common_circuits_have_a_part_of_their_own(made, monkeypatch):
    write_common(made / "run")
    page = opened(made, monkeypatch)
    page.segmented_control("ui_circuit_part").set_value("Common to several").run()
    assert not page.exception and not page.error
    assert "In 1 held-out prompt the common neurons keep 0.62" in "".join(str(html.body) for html in page.get("html"))
    nodes, edges, members = frames(page)
    assert nodes["node"].tolist() == ["L1N2", "embedding", "L0N3"] and nodes["varies"].tolist() == ["no", "no", "yes"]
    assert edges["from"][0].startswith("L0N3") and members["held out"].tolist() == ["", "yes"]
    assert "EVIL" not in read_as_markdown(page)
    page.segmented_control("ui_circuit_common_show").set_value("varies").run()
    assert frames(page)[0]["node"].tolist() == ["L0N3"]


def edited(root: Path, client: FakeClient, **address: str) -> AppTest:
    page = live_page(root, client, run="run", ui_circuit_edit=True)
    for key, value in {"view": "circuit", "circuit": "made", **address}.items():
        page.query_params[key] = value
    page.run()
    assert not page.exception
    return page


def test_without_a_server_the_page_works_and_says_how_to_start_one(made):
    page = edited(made, absent(), node=NEURON)
    assert "neuron_signatures.serve" in shown(page) and "Outgoing" in shown(page)


def test_the_selection_is_ablated_in_the_live_model(made):
    model = facts(model_name=MODEL(made), n_layers=2, d_mlp=5)
    client = FakeClient(ModelState(state="ready", model_name="x", facts=model), runs=made)
    page = edited(made, client, node=f"{NEURON},0_0_1,E_2_0")
    press(page, "circuit_apply")
    request = next(r for r in client.asked if isinstance(r, InterveneRequest))
    assert [(e.layer, e.neurons, e.kind, e.value, e.positions) for e in request.edits] == [
        (1, [0], "set", 0.25, [4]), (0, [0], "set", 0.25, [1]),
    ]  # fmt: skip
    assert request.token_ids == [2, 5, 6, 7, 8] and (request.on.target_id, request.on.foil_id) == (9, 10)
    text = shown(page)
    assert "-0.400 logits, the sum of total effects; computed -5.800" in text
    assert "Austin 78.0 %" in text or "The answer" in text
    assert "20 random sets of 2 neurons" in text


def MODEL(root: Path) -> str:
    name: str = json.loads((root / "run" / "manifest.json").read_text(encoding="utf-8"))["model_name"]
    return name


def test_a_server_with_another_model_is_not_asked(made):
    client = FakeClient()
    page = edited(made, client, node=NEURON)
    assert "cannot edit these neurons" in shown(page)
    assert not [r for r in client.asked if isinstance(r, InterveneRequest)]


def test_predictions_are_for_the_same_change():
    graph = made_graph()
    node = next(n for n in graph.nodes if n.id == NEURON)  # a = 2, reference 0.25, effect 0.2
    assert predicted_change([node, node], "ablate", 0.0).change == pytest.approx(-0.4)
    assert predicted_change([node], "scale", 0.125).change == pytest.approx(-0.2)  # 0.125 * 2 is the reference
    assert predicted_change([node], "scale", 1.0).change == 0.0
    unknown = replace(node, effect=None)
    assert predicted_change([unknown, node], "ablate", 0.0) == (-0.2, 1, 2)
    assert predicted_change([unknown, *graph.nodes[:5]], "ablate", 0.0) == (None, 0, 1)
    many = [replace(node, pos=pos) for pos in range(65)]
    with pytest.raises(UsageError, match="65 edits"):
        edit_request(many, graph.prompt, "ablate", 0.0, controls=0, top_k=5)


def test_the_canvas_gets_short_escaped_texts_and_valid_edges():
    graph = made_graph(neurons_per_place=30)
    evil = "\u202e\x1b]0;x\x07<script>" + "x" * 10_000
    graph = replace(graph, nodes=tuple(replace(n, label=evil) for n in graph.nodes))
    shown_ = show(graph, Thresholds(), groups=[Group(id="g", label=evil[:150], nodes=("0_0_0", "0_2_0"))],
                  collapsed=["g"])  # fmt: skip
    data = canvas_data("made", shown_, lay_out(shown_), ["group:g", "gone"], {"g": evil})
    assert data["selected"] == ["group:g"] and len(data["nodes"]) <= 150
    texts = [t for n in data["nodes"] for t in (n["name"], n["said"], *n["lines"])] + [
        c["label"] for c in data["columns"]
    ]
    assert all(t.isprintable() and len(t) < 1000 for t in texts)
    n = len(data["nodes"])
    assert all(0 <= e[0] < n and 0 <= e[1] < n and 0 <= e[3] <= 1 for e in data["edges"])
    assert len(json.dumps(data, allow_nan=False)) < 1_000_000


@pytest.mark.parametrize(("state", "found"), [
    (None, None), ({}, None), ({"picked": None}, None), ({"picked": {"ids": ["a"], "circuit": "other"}}, None),
    ({"picked": {"ids": "ab", "circuit": "made"}}, None),
    ({"picked": {"ids": ["a", "a", 5, None, "gone", "b"], "circuit": "made"}}, ["a", "b"]),
    ({"picked": {"ids": [], "circuit": "made"}}, []),
])  # fmt: skip
def test_what_the_browser_sends_is_checked(state, found):
    assert picked_ids(state, "made", {"a", "b"}) == found


def test_exports_hold_what_is_shown(made, tmp_path):
    graph = made_graph()
    shown_ = show(graph, Thresholds(kinds=("neuron", "target")))
    part = shown_graph(shown_)
    assert {n.id for n in part.nodes} == {n.id for i in shown_.items for n in i.nodes}
    assert len(part.edges) == shown_.n_edges and part.heads
    nodes = table_bytes(graph, NODES).decode()
    assert nodes.count("\n") == len(graph.nodes) + 1 and "\x1b" not in nodes
    assert table_bytes(graph, EDGES).decode().count("\n") == len(graph.edges) + 1


def test_the_exported_file_comes_back_with_pins(made, monkeypatch, tmp_path):
    from neuron_signatures.dashboard.circuit.exports import graph_bytes, html_bytes
    from neuron_signatures.dashboard.circuit.opened_page import CircuitPage
    from neuron_signatures.dashboard.shell.page_context import PageContext
    from neuron_signatures.dashboard.shell.state import Selection
    from neuron_signatures.runs.circuits.reader import read_circuit
    from neuron_signatures.runs.run import Run
    from neuron_signatures.views.circuit.lists import CircuitIndex

    run_dir = made / "run"
    write_groups(run_dir, "made", GroupsFile(pinned=(NEURON,)), expected_etag="")
    with Run.open(run_dir) as run:
        stored = read_circuit(run_dir, "made")
        shown_ = show(stored.graph)
        ctx = PageContext(run, Selection("run"), (), "", "")
        page = CircuitPage(ctx, stored, CircuitIndex(stored.graph), read_groups(run_dir, "made"), shown_, ())
        (tmp_path / "g.json").write_bytes(graph_bytes(page, stored.graph))
        text = html_bytes(page, lay_out(shown_)).decode()
    back = import_graph(tmp_path / "g.json")
    assert len(back.graph.nodes) == len(stored.graph.nodes) and back.groups.pinned == (NEURON,)
    assert "<script>" not in text and "<img" not in text and EVIL not in text and MARKUP not in text
    assert text.count("<svg") == 1
