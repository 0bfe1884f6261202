"""The folder that a local viewer reads: the list of graphs, each graph, and a file with examples for each neuron."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest
import torch
from circuits_made import EVIL, made_graph, write_circuit
from exchange_cases import edited, foreign_file, made_groups
from hand_made_records import records_of
from run_folders import D_MLP, N_LAYERS, write_run

from neuron_signatures.runs.circuits.exchange.examples import Example, Examples, LayerNeuron, examples_of
from neuron_signatures.runs.circuits.exchange.export import (
    ExportSummary,
    check_folder,
    export_circuit,
    stored_graph_json,
)
from neuron_signatures.runs.circuits.exchange.features import Written, feature_file
from neuron_signatures.runs.circuits.exchange.from_json import import_graph
from neuron_signatures.runs.circuits.exchange.texts import cantor_pair
from neuron_signatures.runs.circuits.reader import read_circuit
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.runs.run import Run

# Of neuron 0 in layer 0, at the positions of three prompts; the first token of each is BOS.
ROWS = {"a": [9.0, 1.0, 3.0], "b": [9.0, -2.0, 0.0, 0.5], "c": [9.0, 0.0]}


@pytest.fixture
def run_dir(tmp_path) -> Path:
    acts = {}
    for name, row in ROWS.items():
        acts[name] = torch.zeros(N_LAYERS, len(row), D_MLP)
        acts[name][0, :, 0] = torch.tensor(row)
    return write_run(tmp_path / "run", acts, dtype="fp32")


def export(run_dir: Path, folder: Path, *, name: str = "made", **options) -> ExportSummary:
    with Run.open(run_dir) as run:
        return export_circuit(run, read_circuit(run_dir, name), folder, **options)


def feature(folder: Path, layer: int, neuron: int) -> dict:
    return json.loads((folder / "features" / "toy" / f"{cantor_pair(layer, neuron)}.json").read_text())


def peaks(quantile: dict) -> list[tuple[float, int]]:
    return [(e["tokens_acts_list"][e["train_token_ind"]], e["train_token_ind"]) for e in quantile["examples"]]


def test_a_folder_has_the_list_the_graph_and_a_file_per_neuron(run_dir, tmp_path):
    graph = write_circuit(run_dir)
    summary = export(run_dir, tmp_path / "out" / "deep", groups=made_groups(graph))
    folder = tmp_path / "out" / "deep"
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert files == [
        "features/toy/0.json", "features/toy/1.json", "graph-metadata.json", "made.json", "made_address.txt",
    ]  # fmt: skip
    content = json.loads((folder / "made.json").read_text())
    assert json.loads((folder / "graph-metadata.json").read_text()) == {"graphs": [content["metadata"]]}
    assert content["metadata"]["scan"] == "./data/features/toy"
    assert import_graph(folder / "made.json") == (graph, made_groups(graph))
    assert (summary.n_nodes, summary.n_links, summary.n_neurons) == (len(graph.nodes), len(graph.edges), 2)
    assert summary.graph_bytes == (folder / "made.json").stat().st_size
    assert summary.n_without_examples == 1
    assert "2 files of neurons, 1 of them without examples" in "\n".join(summary.lines())


def test_each_neuron_of_the_graph_has_the_file_that_its_nodes_name(run_dir, tmp_path):
    graph = write_circuit(run_dir, made_graph(neurons_per_place=3))
    export(run_dir, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "made.json").read_text())
    numbers = {n["feature"] for n in content["nodes"] if n["feature_type"] == "cross layer transcoder"}
    assert numbers == {int(p.stem) for p in (tmp_path / "out" / "features" / "toy").iterdir()}
    assert len(numbers) == len({(n.layer, n.neuron) for n in graph.nodes if n.kind == "neuron"}) == 6


def test_examples_of_prompts_are_the_peaks_of_both_poles_without_bos(run_dir, tmp_path):
    write_circuit(run_dir)
    export(run_dir, tmp_path / "out")
    found = feature(tmp_path / "out", 0, 0)
    positive, negative = found["examples_quantiles"]
    assert positive["quantile_name"] == "Strongest of the run's prompts"
    assert peaks(positive) == [(3.0, 2), (0.5, 3)]
    assert positive["examples"][0]["tokens_acts_list"] == ROWS["a"]
    assert negative["quantile_name"] == "Most negative, sign turned, of the run's prompts"
    assert peaks(negative) == [(2.0, 1)]
    assert negative["examples"][0]["tokens_acts_list"] == [-9.0, 2.0, 0.0, -0.5]
    assert (found["index"], found["layer"], found["act_min"], found["act_max"]) == (0, 0, 0.0, 9.0)


def test_a_neuron_without_activations_has_a_file_that_viewers_can_read(run_dir, tmp_path):
    write_circuit(run_dir)
    export(run_dir, tmp_path / "out")
    found = feature(tmp_path / "out", 1, 0)
    assert [q["examples"] for q in found["examples_quantiles"]] == [[]]
    assert found["act_max"] > found["act_min"]


def test_the_number_of_examples_is_bounded(run_dir, tmp_path):
    write_circuit(run_dir)
    export(run_dir, tmp_path / "out", examples=1)
    assert [len(q["examples"]) for q in feature(tmp_path / "out", 0, 0)["examples_quantiles"]] == [1, 1]


def test_written_tokens_are_those_that_the_nodes_promote(run_dir, tmp_path):
    write_circuit(run_dir, made_graph(neurons_per_place=2))  # neuron 1 is below its reference
    export(run_dir, tmp_path / "out")
    above, below = feature(tmp_path / "out", 0, 0), feature(tmp_path / "out", 0, 1)
    assert above["top_logits"][0] == " Austin" and above["bottom_logits"] == []
    assert below["bottom_logits"] == above["top_logits"] and below["top_logits"] == []


def test_files_of_neurons_hold_no_html_and_no_control_characters(run_dir, tmp_path):
    write_circuit(run_dir)
    export(run_dir, tmp_path / "out")
    text = (tmp_path / "out" / "features" / "toy" / "0.json").read_text()
    assert "EVIL" in text and EVIL not in text
    assert not any(c in text for c in "<>\x1b\u202e")


def test_examples_of_a_recorded_neuron_are_of_the_corpus(tmp_path):
    records_of(tmp_path / "run", ["a|b=7|c", "d|e|f=9", "g"], ["h|i=1"]).close()
    at = LayerNeuron(0, 0)
    with Run.open(tmp_path / "run") as run:
        found = examples_of(run, [at], most=2)[at]
    assert found.source == "records"
    assert [(e.tokens, e.peak) for e in found.positive] == [(("d", "e", "f"), 2), (("a", "b", "c"), 1)]
    assert [e.acts[e.peak] for e in found.positive] == [9.0, 7.0]
    assert found.negative == ()
    (quantile,) = feature_file(at, found, Written()).examples_quantiles
    assert quantile.quantile_name == "Strongest of the corpus"


def test_a_second_circuit_joins_the_list(run_dir, tmp_path):
    write_circuit(run_dir)
    write_circuit(run_dir, name="other")
    export(run_dir, tmp_path / "out")
    export(run_dir, tmp_path / "out", name="other")
    graphs = json.loads((tmp_path / "out" / "graph-metadata.json").read_text())["graphs"]
    assert [g["slug"] for g in graphs] == ["made", "other"]


def test_the_same_circuit_is_replaced(run_dir, tmp_path):
    graph = write_circuit(run_dir)
    export(run_dir, tmp_path / "out", groups=made_groups(graph))
    newer = write_circuit(run_dir, made_graph(neurons_per_place=2))
    export(run_dir, tmp_path / "out")
    assert import_graph(tmp_path / "out" / "made.json").graph == newer
    assert len(json.loads((tmp_path / "out" / "graph-metadata.json").read_text())["graphs"]) == 1


def save_a_pin(content: dict) -> None:
    content["qParams"]["pinnedIds"] = "1_0_3"


def save_a_group(content: dict) -> None:
    content["qParams"]["supernodes"] = json.dumps([["mine", "1_0_3"]])


def save_a_name(content: dict) -> None:
    content["qParams"]["clerps"] = json.dumps([["0", "mine"]])


def damage(content: dict) -> None:
    content["nodes"] = []


@pytest.mark.parametrize("change", [save_a_pin, save_a_group, save_a_name, damage])
def test_a_circuit_that_a_person_changed_in_a_viewer_is_replaced_only_on_request(run_dir, tmp_path, change):
    graph = write_circuit(run_dir)
    export(run_dir, tmp_path / "out", groups=made_groups(graph))
    before = edited(tmp_path / "out" / "made.json", change).read_bytes()
    with pytest.raises(UsageError, match=r"made\.json has been changed since it was exported.*--overwrite"):
        export(run_dir, tmp_path / "out")
    assert (tmp_path / "out" / "made.json").read_bytes() == before
    check_folder(tmp_path / "out", ["other"], overwrite=False)
    with pytest.raises(UsageError, match="has been changed"):
        check_folder(tmp_path / "out", ["other", "made"], overwrite=False)
    export(run_dir, tmp_path / "out", overwrite=True)
    assert import_graph(tmp_path / "out" / "made.json").graph == graph


def other_folder(folder: Path) -> None:
    (folder / "thesis.txt").write_text("mine")


def foreign_export(folder: Path) -> None:
    foreign_file(folder / "cat.json")
    metadata = json.loads((folder / "cat.json").read_text())["metadata"]
    (folder / "graph-metadata.json").write_text(json.dumps({"graphs": [metadata]}))


def damaged_list(folder: Path) -> None:
    (folder / "graph-metadata.json").write_text('{"graphs": [NaN]}')


@pytest.mark.parametrize("make", [other_folder, foreign_export, damaged_list])
def test_a_folder_of_others_is_left_alone_unless_asked(run_dir, tmp_path, make):
    write_circuit(run_dir)
    (tmp_path / "out").mkdir()
    make(tmp_path / "out")
    before = {p: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    with pytest.raises(UsageError, match=r"not empty and is no export of this program.*--overwrite"):
        export(run_dir, tmp_path / "out")
    assert {p: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    export(run_dir, tmp_path / "out", overwrite=True)
    graphs = json.loads((tmp_path / "out" / "graph-metadata.json").read_text())["graphs"]
    assert [g["slug"] for g in graphs] == (["the cat", "made"] if make is foreign_export else ["made"])
    assert all(p.read_bytes() == raw for p, raw in before.items() if p.name != "graph-metadata.json")


def test_a_file_in_place_of_the_folder_is_refused(run_dir, tmp_path):
    write_circuit(run_dir)
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        export(run_dir, tmp_path / "out")


def test_nothing_is_written_through_a_link(run_dir, tmp_path):
    write_circuit(run_dir)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "features").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Exception, match="is a link"):
        export(run_dir, tmp_path / "out", overwrite=True)
    assert not any((tmp_path / "elsewhere").iterdir())


def test_an_export_that_fails_is_in_no_list(run_dir, tmp_path, monkeypatch):
    write_circuit(run_dir)
    with pytest.raises(EnvironmentProblem):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "made.json").mkdir()  # so that the graph cannot be written
        export(run_dir, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "graph-metadata.json").exists()


def test_the_query_holds_pins_and_supernodes_twice_encoded(run_dir, tmp_path):
    graph = write_circuit(run_dir)
    groups = made_groups(graph)
    summary = export(run_dir, tmp_path / "out", groups=groups)
    assert (tmp_path / "out" / "made_address.txt").read_text() == f"index.html{summary.query}\n"
    query = parse_qs(summary.query.removeprefix("?"))
    params = json.loads((tmp_path / "out" / "made.json").read_text())["qParams"]
    assert query["slug"] == ["made"]
    assert unquote(query["pinnedIds"][0]).split(",") == params["pinnedIds"]
    assert json.loads(unquote(query["supernodes"][0])) == params["supernodes"]


def test_settings_and_facts_of_the_record_are_in_the_file(run_dir):
    write_circuit(run_dir)
    file = stored_graph_json(read_circuit(run_dir, "made"), None, "some/model")
    assert file.neuron_signatures is not None
    assert file.neuron_signatures.settings == {"reference": "mean"}
    assert file.neuron_signatures.facts == {}  # prompt and layers have fields of their own
    assert file.metadata.info.create_time_ms > 1_700_000_000_000


def test_the_groups_of_the_run_are_used(run_dir, tmp_path):
    from neuron_signatures.runs.circuits.groups import write_groups

    graph = write_circuit(run_dir)
    write_groups(run_dir, "made", made_groups(graph), expected_etag="")
    export(run_dir, tmp_path / "out")
    assert import_graph(tmp_path / "out" / "made.json").groups == made_groups(graph)


def test_a_neuron_of_which_only_peaks_are_known_says_so():
    known, peak = Example(("a", "b"), (1.0, 2.0), 1), Example(("a", "b"), (0.0, 3.0), 1, is_whole=False)
    (quantile,) = feature_file(LayerNeuron(0, 0), Examples("records", (peak, known)), Written()).examples_quantiles
    assert quantile.quantile_name.endswith("only the peak is coloured")
