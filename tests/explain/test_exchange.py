"""Explanations of other tools: every known key survives import and export, and mistakes are one line."""

from __future__ import annotations

import copy
import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from explanation_logs import edit_of, explanation, failed, write_log
from run_folders import D_MLP, write_run

from neuron_signatures.cli.command import command
from neuron_signatures.cli.exchange_explanations import export_main, import_main
from neuron_signatures.runs.errors import ExitCode
from neuron_signatures.runs.explanations import people
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.verify import verify_run

SCORES = {"ev_correlation_score": 0.5, "rsquared_score": 0.25, "absolute_dev_explained_score": -0.125}
SIMULATION = {
    "tokens": [" Austin", "\n", "é"],
    "expected_activations": [9.5, 0.0, 0.25],
    "activation_scale": "simulated_normalized_activations",
    "distribution_values": [[9.0, 10.0], [0.0], [0.0, 1.0]],
    "distribution_probabilities": [[0.5, 0.5], [1.0], [0.75, 0.25]],
    "uncalibrated_simulation": None,
}
SCORED_SEQUENCE = {
    "sequence_simulation": {**SIMULATION, "uncalibrated_simulation": SIMULATION},
    "true_activations": [3.5, -0.1, 0.0],
    **SCORES,
}
SCORED_SIMULATION = {"scored_sequence_simulations": [SCORED_SEQUENCE], **SCORES}
OPENAI = {
    "neuron_id": {"layer_index": 1, "neuron_index": 2},
    "scored_explanations": [
        {"explanation": "cities in Texas", "scored_simulation": SCORED_SIMULATION},
        {
            "explanation": "words after Austin",
            "scored_simulation": {**SCORED_SIMULATION, "ev_correlation_score": None},
        },
    ],
}
DELPHI_SCORES = [
    {
        "str_tokens": [" Austin", ","],
        "activations": [3.5, 0.0],
        "distance": 1,
        "activating": True,
        "prediction": True,
        "probability": 0.75,
        "correct": True,
    },
    {
        "str_tokens": [" Paris"],
        "activations": [0.0],
        "distance": -1,
        "activating": False,
        "prediction": None,
        "probability": None,
        "correct": None,
    },
]
NEURONPEDIA = {
    "id": "clx0", "modelId": "toy", "layer": "1-mlp", "index": "2", "description": "cities in Texas",
    "authorId": "someone", "triggeredByUserId": None, "notes": None, "scoreV1": 0.5, "scoreV2": None, "umap_x": 1.25,
    "umap_y": -3.0, "umap_cluster": 4, "umap_log_feature_sparsity": 0.0, "typeName": "oai_token-act-pair",
    "explanationModelName": "gpt-4o-mini", "createdAt": "2024-05-01T00:00:00.000Z",
    "updatedAt": "2024-05-02T00:00:00.000Z",
}  # fmt: skip


@command
def explain(argv=None) -> int:
    return {"import": import_main, "export": export_main}[argv[0]](argv[1:])


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run")


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def bring(run_dir: Path, source: Path, form: str, *flags: str) -> int:
    given = ["--run_dir", str(run_dir), "--source", str(source), "--format", form]
    return explain(["import", *given, *(() if "--set" in flags else ("--set", "theirs")), *flags])


def send(run_dir: Path, form: str, *flags: str, name: str = "theirs") -> Path:
    out = run_dir.parent / f"out_{form}"
    given = ["--run_dir", str(run_dir), "--set", name, "--format", form, "--out_dir", str(out), *flags]
    assert explain(["export", *given]) == 0
    return out


def older(value: Any) -> Any:
    """The same with the spellings of older files."""
    names = {
        "explanation": "explanation_or_baseline", "scored_explanations": "scored_explanation_or_baseline_list",
        "sequence_simulation": "simulation", "activation_scale": "unit",
    }  # fmt: skip
    if isinstance(value, list):
        return [older(v) for v in value]
    return {names.get(k, k): older(v) for k, v in value.items()} if isinstance(value, dict) else value


def lines_of_gz(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.mark.parametrize("spelling", [lambda v: v, older])
def test_openai_files_survive_import_and_export(run_dir, tmp_path, spelling, capsys):
    source = put(tmp_path / "in" / "1" / "2.jsonl", json.dumps(spelling(OPENAI)) + "\n")
    assert bring(run_dir, source.parents[1], "openai") == 0
    assert "2 explanations of 1 neuron in set theirs" in capsys.readouterr().out
    out = send(run_dir, "openai", "--all")
    assert [p.relative_to(out) for p in out.rglob("*.jsonl")] == [Path("1/2.jsonl")]
    assert json.loads((out / "1" / "2.jsonl").read_text()) == OPENAI
    assert verify_run(run_dir).faults == []


def named(value: Any, name: str) -> Any:
    classes = {
        "neuron_id": "NeuronId", "scored_explanations": "ScoredExplanation", "scored_simulation": "ScoredSimulation",
        "scored_sequence_simulations": "ScoredSequenceSimulation", "sequence_simulation": "SequenceSimulation",
        "uncalibrated_simulation": "SequenceSimulation",
    }  # fmt: skip
    if isinstance(value, list):
        return [named(v, name) for v in value]
    if not isinstance(value, dict):
        return value
    return {"dataclass_name": name, **{k: named(v, classes[k]) if k in classes else v for k, v in value.items()}}


def test_openai_files_with_class_names_survive(run_dir, tmp_path):
    full = named(OPENAI, "NeuronSimulationResults")
    assert bring(run_dir, put(tmp_path / "x.jsonl", json.dumps(full)), "openai") == 0
    out = send(run_dir, "openai", "--all", "--with_class_names")
    assert json.loads((out / "1" / "2.jsonl").read_text()) == full


def test_openai_files_may_have_nan_and_single_explanations(run_dir, tmp_path):
    single = copy.deepcopy(OPENAI["scored_explanations"][0])
    single["scored_simulation"]["ev_correlation_score"] = float("nan")
    put(tmp_path / "in" / "0" / "4.json", json.dumps(single, indent=2))
    assert bring(run_dir, tmp_path / "in", "openai") == 0
    (shown,) = Explanations.open(run_dir).of(0, 4)
    assert (shown.text, shown.at, shown.entry.explainer) == ("cities in Texas", NeuronPole(0, 4, "+"), "openai")
    scored = json.loads((send(run_dir, "openai") / "0" / "4.jsonl").read_text())["scored_explanations"][0]
    assert scored["scored_simulation"]["ev_correlation_score"] is None


def test_delphi_files_survive_import_and_export(run_dir, tmp_path, capsys):
    source = tmp_path / "in"
    for name, text in (("layers.1.mlp_latent2", '"cities in Texas"'), ("layers.2.mlp.act_latent4", '"l\\u00e9s"')):
        put(source / "explanations" / f"{name}.txt", text)
    for scorer in ("detection", "fuzz"):
        put(source / "scores" / scorer / "layers.1.mlp_latent2.txt", json.dumps(DELPHI_SCORES))
    assert bring(run_dir, source, "delphi", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n_explanations"] == 2
    out = send(run_dir, "delphi")
    there = {p.relative_to(source): json.loads(p.read_text()) for p in source.rglob("*.txt")}
    assert {p.relative_to(out): json.loads(p.read_text()) for p in out.rglob("*.txt")} == there
    assert len(there) == 4


def test_neuronpedia_files_survive_import_and_export(run_dir, tmp_path):
    second = {**NEURONPEDIA, "index": "3", "typeName": None, "explanationModelName": None}
    few = {"modelId": "toy", "layer": "0-mlp", "index": "0", "description": "only what is required"}
    (tmp_path / "in").mkdir()
    text = "".join(json.dumps(e) + "\n" for e in (few, NEURONPEDIA, second))
    (tmp_path / "in" / "batch-0.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    assert bring(run_dir, tmp_path / "in", "neuronpedia") == 0
    (shown,) = Explanations.open(run_dir).of(1, 2)
    assert (shown.entry.explainer, shown.entry.model, shown.entry.author) == (
        "oai_token-act-pair", "gpt-4o-mini", "model")  # fmt: skip
    written = lines_of_gz(send(run_dir, "neuronpedia") / "explanations" / "batch-0.jsonl.gz")
    assert written == [{"typeName": "neuronpedia", "explanationModelName": None, **few}, NEURONPEDIA, second]


def test_unknown_keys_are_ignored(run_dir, tmp_path):
    line = {**NEURONPEDIA, "embedding": [0.1, 0.2], "new": {"a": 1}}
    assert bring(run_dir, put(tmp_path / "x.jsonl", json.dumps(line)), "neuronpedia") == 0
    assert lines_of_gz(send(run_dir, "neuronpedia") / "explanations" / "batch-0.jsonl.gz") == [NEURONPEDIA]


def test_what_does_not_fit_the_run_is_counted(run_dir, tmp_path, capsys):
    lines = [
        {**NEURONPEDIA, "index": str(D_MLP)}, {**NEURONPEDIA, "layer": "99-mlp"}, {**NEURONPEDIA, "description": " "},
        {**NEURONPEDIA, "description": "x" * 20_001}, NEURONPEDIA,
    ]  # fmt: skip
    source = put(tmp_path / "x.jsonl", "\n".join(json.dumps(e) for e in lines))
    assert bring(run_dir, source, "neuronpedia") == 0
    out = capsys.readouterr().out
    assert "1 explanation of 1 neuron" in out
    for left_out in (
        "2 left out: the run has no such neuron", "1 left out: empty", "1 left out: longer than 20000 characters"
    ):  # fmt: skip
        assert left_out in out


@pytest.mark.parametrize(
    ("form", "name", "text", "why"),
    [
        ("openai", "x.jsonl", "{", "x.jsonl, line 1: not valid JSON"),
        ("openai", "x.jsonl", json.dumps({**OPENAI, "neuron_id": 3}), "x.jsonl, line 1: field neuron_id"),
        ("openai", "x.jsonl", json.dumps(OPENAI).replace('" Austin"', "3"), "tokens.0: Input should be a valid string"),
        ("openai", "a/b.jsonl", json.dumps(OPENAI["scored_explanations"][0]), "names no neuron"),
        ("delphi", "layers.1.mlp_latent2.txt", "[1]", "is not a JSON string"),
        ("delphi", "mlp_latent2.txt", '"x"', "is not named <hookpoint>_latent<N>.txt"),
        ("neuronpedia", "x.jsonl", json.dumps({**NEURONPEDIA, "layer": "mlp-1"}), "such as 6-mlp"),
        ("neuronpedia", "x.jsonl", json.dumps({**NEURONPEDIA, "description": 3}), "line 1: field description"),
        ("neuronpedia", "x.jsonl", json.dumps({**NEURONPEDIA, "index": "-1"}), "field index"),
        ("neuronpedia", "x.jsonl.gz", "no gzip", "cannot be read"),
    ],
)
def test_a_wrong_file_is_named_and_nothing_is_written(run_dir, tmp_path, form, name, text, why, capsys):
    path = put(tmp_path / "in" / name, text)
    assert bring(run_dir, path, form) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert why in err and err.count("\n") == 1
    assert not (run_dir / "explanations").exists()


def test_delphi_scores_are_checked(run_dir, tmp_path, capsys):
    put(tmp_path / "in" / "explanations" / "layers.1.mlp_latent2.txt", '"x"')
    put(tmp_path / "in" / "scores" / "fuzz" / "layers.1.mlp_latent2.txt", '[{"activating": "maybe"}]')
    assert bring(run_dir, tmp_path / "in", "delphi") == ExitCode.USAGE
    assert "fuzz/layers.1.mlp_latent2.txt: field 0.activating" in capsys.readouterr().err


def test_several_sources_in_a_neuronpedia_file_need_a_choice(run_dir, tmp_path, capsys):
    lines = [NEURONPEDIA, {**NEURONPEDIA, "layer": "1-res-jb", "description": "a feature"}]
    source = put(tmp_path / "x.jsonl", "\n".join(json.dumps(e) for e in lines))
    assert bring(run_dir, source, "neuronpedia") == ExitCode.USAGE
    assert "explanations of toy/mlp and of toy/res-jb. Import one with --layer_source" in capsys.readouterr().err
    assert bring(run_dir, source, "neuronpedia", "--layer_source", "mlp") == 0
    assert [s.text for s in Explanations.open(run_dir).all()] == ["cities in Texas"]


def test_an_import_is_a_new_set_and_can_be_repeated_only_if_it_was_killed(run_dir, tmp_path, capsys):
    source = put(tmp_path / "x.jsonl", json.dumps(NEURONPEDIA) + "\n" + json.dumps({**NEURONPEDIA, "index": "3"}))
    assert bring(run_dir, source, "neuronpedia") == 0
    assert bring(run_dir, source, "neuronpedia") == ExitCode.USAGE
    assert "there is a set theirs already" in capsys.readouterr().err
    folder = run_dir / "explanations"
    for name in ("theirs_meta.json", "theirs.parquet", "theirs_source.jsonl"):
        (folder / name).unlink()
    log = folder / "theirs.jsonl"
    first = log.read_text().splitlines()[0]
    log.write_text(first + "\n" + '{"id": "torn')
    assert bring(run_dir, source, "neuronpedia") == 0
    assert [s.entry.neuron for s in Explanations.open(run_dir).all()] == [2, 3]
    assert log.read_text().startswith(first)
    assert verify_run(run_dir).faults == []
    written = lines_of_gz(send(run_dir, "neuronpedia") / "explanations" / "batch-0.jsonl.gz")
    assert written == [NEURONPEDIA, {**NEURONPEDIA, "index": "3"}]


def test_an_import_of_the_other_pole(run_dir, tmp_path, capsys):
    source = put(tmp_path / "x.jsonl", json.dumps(NEURONPEDIA))
    assert bring(run_dir, source, "neuronpedia", "--pole=-") == 0
    assert [s.at.pole for s in Explanations.open(run_dir).all()] == ["-"]
    out = str(tmp_path / "out")
    given = ["--run_dir", str(run_dir), "--set", "theirs", "--format", "neuronpedia", "--out_dir", out]
    assert explain(["export", *given]) == ExitCode.USAGE
    assert "set theirs has no explanation of the pole +" in capsys.readouterr().err
    assert explain(["export", *given, "--pole=-"]) == 0


def test_an_export_has_current_texts_of_one_pole_and_no_scores_of_other_texts(run_dir, tmp_path, capsys):
    source = put(tmp_path / "x.jsonl", json.dumps(OPENAI))
    assert bring(run_dir, source, "openai") == 0
    (current,) = Explanations.open(run_dir).current(NeuronPole(1, 2, "+"), "theirs")
    people.edit(run_dir, current.id, "towns in Texas", "Ada")
    people.edit(run_dir, Explanations.open(run_dir).of(1, 2)[1].id, "unused", "Ada")
    out = send(run_dir, "openai")
    (scored,) = json.loads((out / "1" / "2.jsonl").read_text())["scored_explanations"]
    assert scored["explanation"] == "towns in Texas" or scored["explanation"] == "unused"
    assert scored["scored_simulation"] == {
        "scored_sequence_simulations": [], "ev_correlation_score": None, "rsquared_score": None,
        "absolute_dev_explained_score": None,
    }  # fmt: skip


def test_own_sets_in_every_format(run_dir, capsys):
    a, b = explanation("cities", explainer="both", model="gpt"), explanation("other", pole="-")
    write_log(run_dir, a, b, failed(neuron=3), edit_of(a, "Ada", "towns"))
    assert json.loads((send(run_dir, "openai", name="a") / "1" / "2.jsonl").read_text())["neuron_id"] == {
        "layer_index": 1, "neuron_index": 2}  # fmt: skip
    assert "1 of the other pole left out: the format has no poles" in capsys.readouterr().out
    out = send(run_dir, "delphi", "--hookpoint", "model.layers.{layer}.mlp", name="a")
    assert [p.name for p in out.rglob("*.txt")] == ["model.layers.1.mlp_latent2.txt"]
    (line,) = lines_of_gz(send(run_dir, "neuronpedia", "--pole=-", name="a") / "explanations" / "batch-0.jsonl.gz")
    assert line == {
        "modelId": "toy", "layer": "1-mlp", "index": "2", "description": "other", "typeName": "lookup",
        "explanationModelName": None,
    }  # fmt: skip


def test_csv_has_both_poles_and_escapes_formulas(run_dir):
    a = explanation('=HYPERLINK("x")', pole="-")
    write_log(run_dir, explanation("tab\tand\nline"), a, failed(neuron=3))
    rows = list(csv.DictReader((send(run_dir, "csv", name="a") / "a.csv").open(newline="")))
    assert [(r["pole"], r["text"]) for r in rows] == [("+", "tab\\x09and\\x0aline"), ("-", '\'=HYPERLINK("x")')]
    rows = list(csv.DictReader((send(run_dir, "csv", "--all", "--overwrite", name="a") / "a.csv").open(newline="")))
    assert [r["status"] for r in rows] == ["ok", "ok", "refused"]


def test_an_export_does_not_mix_with_other_files(run_dir, tmp_path, capsys):
    write_log(run_dir, explanation("one"))
    send(run_dir, "openai", name="a")
    out = tmp_path / "out_openai"
    given = ["--run_dir", str(run_dir), "--set", "a", "--out_dir", str(out), "--format", "openai"]
    assert explain(["export", *given]) == ExitCode.USAGE
    assert "is not empty" in capsys.readouterr().err
    assert explain(["export", *given, "--overwrite"]) == 0


def test_mistakes_of_an_export_are_one_line(run_dir, tmp_path, capsys):
    write_log(run_dir, explanation("one", sample=0), explanation("two", sample=1))
    base = ["export", "--run_dir", str(run_dir), "--out_dir", str(tmp_path / "out")]
    for why, flags in (
        ("no set 'b' (there are a)", ["--set", "b", "--format", "openai"]),
        ("'mlp' does not name a layer", ["--set", "a", "--format", "delphi", "--hookpoint", "mlp"]),
        ("has several explanations, and this format has place for one", ["--set", "a", "--format", "delphi", "--all"]),
        ("--format and --out_dir are needed", ["--set", "a"]),
        ("this set is not finished", ["--set", "a", "--finetune", str(tmp_path / "chat.jsonl")]),
    ):
        assert explain([*base, *flags]) == ExitCode.USAGE
        err = capsys.readouterr().err
        assert why in err and err.count("\n") == 1


@pytest.mark.parametrize("name", ["import", "export"])
def test_help_is_printed(name, capsys):
    with pytest.raises(SystemExit) as e:
        explain([name, "--help"])
    assert e.value.code == 0 and "--format" in capsys.readouterr().out
