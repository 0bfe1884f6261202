"""`poc7_compare_skills --mode explain` as a command."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from explanation_logs import explanation, failed, write_log
from misbehaving_server import Act, MisbehavingServer, send_json
from synthetic_skills import make_skill_run, own_class, skill_table, write_collection, write_specific

from neuron_signatures import poc7_compare_skills
from neuron_signatures.runs.skills import columns
from neuron_signatures.runs.skills.meta import ResultMeta, read_meta

PATTERN = "gemma-2-2b/{layer}-gemmascope-{site}-16k"
CANARY = "np-canary-77aa00bb11cc"


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEURON_SIGNATURES_CACHE", str(tmp_path / "cache"))
    return make_skill_run(tmp_path / "run")


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """Explanations of the features of layer 0."""
    path = tmp_path / "batch-0.jsonl"
    rows = [{"modelId": "gemma-2-2b", "layer": "0-gemmascope-res-16k", "index": str(i),
             "description": f"words of {own_class(i)}"} for i in range(8)]  # fmt: skip
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def explain(run_dir: Path, *flags: str) -> int:
    return poc7_compare_skills.main(["--mode", "explain", "--run_dir", str(run_dir), "--quiet", *flags])


def table(run_dir: Path) -> pd.DataFrame:
    return skill_table(run_dir, "unit_explanations")


def by_label(run_dir: Path) -> dict[str, tuple[str, str]]:
    best = table(run_dir).drop_duplicates("label")
    return {row.label: (row.status, row.explanation) for row in best.itertuples()}


def answering(asked) -> Act:
    """Every feature of layer 1 has an explanation."""
    source, index = asked.path.split("/")[-2:]
    if source.startswith("0-"):
        return Act(b"{}", 404)
    return send_json({"explanations": [{"description": f"{source} {index}", "explanationModelName": "gpt"}]})


def test_files_and_the_own_explanations_without_a_network(run_dir, dump, capsys):
    write_log(run_dir, explanation("sums and equations", layer=0, neuron=2), failed(layer=0, neuron=3))
    assert explain(run_dir, "--top", "2", "--explanations", str(dump)) == 0
    assert "file (" in capsys.readouterr().out
    frame = table(run_dir)
    assert list(frame.columns) == list(columns.UNIT_EXPLANATIONS)
    found = by_label(run_dir)
    assert found["res L0F1"] == ("ok", "words of knowledge") and found["L0N2+"] == ("ok", "sums and equations")
    assert found["L0N3+"] == ("refused", "") and found["mlp L1F0"] == ("none", "")
    assert len(found) == 2 * 2 * 4  # two of each class and source
    meta = read_meta(run_dir, "explain", ResultMeta)
    assert meta.settings["top"] == 2 and meta.facts["statuses"]["ok"] == 9 - 4
    assert meta.facts["input_files"][0]["name"] == "batch-0.jsonl"
    assert meta.files[0].name == "unit_explanations.parquet"


def test_the_best_of_the_runs_explanations_comes_first_by_its_score(run_dir, monkeypatch):
    from neuron_signatures.skills.explain import from_run

    a, b = explanation("weaker", layer=0, neuron=2, set="a"), explanation("better", layer=0, neuron=2, set="b")
    write_log(run_dir, a, set_name="a")
    write_log(run_dir, b, set_name="b")
    scores = {a.id: from_run._Score(0.1, "correlation/uniform rule"), b.id: from_run._Score(0.4, "x")}
    monkeypatch.setattr(from_run, "_scores", lambda run_dir, score: scores)
    assert explain(run_dir, "--units", "L0N2+") == 0
    assert list(table(run_dir)["explanation"]) == ["better", "weaker"]
    assert list(table(run_dir)["score"]) == [0.4, 0.1]
    assert explain(run_dir, "--units", "L0N2+", "--sets", "a") == 0
    assert list(table(run_dir)["explanation"]) == ["weaker"]
    assert explain(run_dir, "--units", "L0N2+", "--sets", "missing") == 2


def test_neuronpedia_is_asked_only_for_what_is_missing(run_dir, dump):
    flags = ("--sources", "sae", "--top", "2", "--explanations", str(dump), "--neuronpedia", PATTERN,
             "--neuronpedia_per_minute", "60000")  # fmt: skip
    with MisbehavingServer(answering) as server:
        url = ("--neuronpedia_url", server.base_url)
        assert explain(run_dir, *flags, *url) == 0
        asked = {request.path.rpartition("/feature/")[2] for request in server.requests}
        assert asked and all(path.startswith("gemma-2-2b/1-gemmascope-mlp-16k/") for path in asked)
        n = len(server.requests)
        assert explain(run_dir, *flags, *url) == 0
        assert len(server.requests) == n
    assert by_label(run_dir)["mlp L1F1"] == ("ok", "1-gemmascope-mlp-16k 1")
    row = table(run_dir).set_index("label").loc["mlp L1F1"]
    assert row["where"].endswith("/api/feature/gemma-2-2b/1-gemmascope-mlp-16k/1") and row["retrieved_at"]


def test_nothing_is_sent_without_the_flag(run_dir, monkeypatch):
    import socket

    def refuse(*_args, **_kwargs):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert explain(run_dir) == 0
    assert set(table(run_dir)["status"]) == {"none"}


def test_dry_run_counts_requests_and_writes_nothing(run_dir, capsys):
    with MisbehavingServer(answering) as server:
        flags = ("--neuronpedia", PATTERN, "--neuronpedia_url", server.base_url, "--dry_run", "--json", "--top", "1")
        assert explain(run_dir, *flags) == 0
        assert not server.requests
    found = json.loads(capsys.readouterr().out)
    assert found == {"n_units": 8, "n_features": 4, "n_requests": 4, "seconds": 4.0}
    assert not (run_dir / "skills" / "explain_meta.json").exists()


def test_failed_requests_are_statuses_and_exit_1(run_dir, monkeypatch):
    monkeypatch.setenv("NEURONPEDIA_API_KEY", CANARY)
    with MisbehavingServer(lambda asked: Act(f"no {asked.headers['x-api-key']}".encode(), 400)) as server:
        flags = ("--sources", "sae", "--top", "1", "--neuronpedia", PATTERN, "--neuronpedia_url", server.base_url)
        assert explain(run_dir, *flags, "--neuronpedia_per_minute", "60000") == 1
    assert set(table(run_dir)["status"]) == {"api_error"}
    written = [p.read_bytes() for p in run_dir.rglob("*") if p.is_file()]
    assert not any(CANARY.encode() in raw for raw in written)


def test_a_long_wait_stops_with_75_and_keeps_what_is_cached(run_dir, capsys):
    acts = [send_json({"explanations": [{"description": "one"}]}), Act(b"{}", 429, {"Retry-After": "7200"})]
    with MisbehavingServer(acts) as server:
        flags = ("--units", "res L0F0,res L0F1", "--neuronpedia", PATTERN, "--neuronpedia_url", server.base_url,
                 "--neuronpedia_per_minute", "60000")  # fmt: skip
        assert explain(run_dir, *flags) == 75
        assert "asks to wait" in capsys.readouterr().err
        assert not (run_dir / "skills" / "explain_meta.json").exists()
        server.script = lambda asked: send_json({"explanations": [{"description": "two"}]})
        n = len(server.requests)
        assert explain(run_dir, *flags) == 0
        assert len(server.requests) == n + 1
    assert set(table(run_dir)["explanation"]) == {"one", "two"}


def test_all_units_are_those_among_the_strongest(run_dir):
    assert explain(run_dir, "--all_units", "--sources", "sae") == 0
    assert list(by_label(run_dir)) == ["res L0F1", "res L0F3", "mlp L1F1", "mlp L1F3"]


def test_classes_and_layers_limit_the_units(run_dir):
    assert explain(run_dir, "--classes", "empathy", "--layers", "1", "--top", "1") == 0
    assert list(by_label(run_dir)) == ["L1N0+", "mlp L1F0"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--units", "L9N9+"), "was not collected"),
        (("--units", "L0N2+", "--all_units"), "contradicts"),
        (("--units", "L0N2+", "--classes", "empathy"), "--classes"),
        (("--classes", "poetry"), "no class 'poetry'"),
        (("--layers", "9"), "no unit is chosen"),
        (("--neuronpedia", "gemma"), "MODEL/PATTERN"),
        (("--neuronpedia_url", "https://example.com"), "without --neuronpedia"),
        (("--neuronpedia", PATTERN, "--neuronpedia_url", "http://example.com"), "clear text"),
        (("--source_pattern", "{layer}-x"), "is for --explanations"),
        (("--explanations", "missing.jsonl"), "no such file"),
        (("--llm", "none"), "has no effect with --mode explain"),
    ],
)
def test_mistakes_are_one_line(run_dir, capsys, flags, said):
    assert explain(run_dir, *flags) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_files_that_explain_nothing_are_a_mistake(run_dir, dump, capsys):
    assert explain(run_dir, "--units", "mlp L1F0", "--explanations", str(dump)) == 2
    assert "explain none of the 1 unit" in capsys.readouterr().err


def test_what_is_missing_is_named(tmp_path, capsys):
    run_dir = make_skill_run(tmp_path / "run", specific=False)
    assert explain(run_dir) == 2
    assert "--mode compare" in capsys.readouterr().err
    assert explain(run_dir, "--units", "res L0F1") == 0


def test_specific_units_of_an_earlier_collection_are_refused(run_dir, capsys):
    write_collection(run_dir, flags_given=["again"])
    assert explain(run_dir) == 3
    assert "earlier collection" in capsys.readouterr().err
    write_specific(run_dir)
    assert explain(run_dir) == 0


def test_hostile_explanations_are_stored_and_not_shown(run_dir, tmp_path, capsys):
    text = "\x1b[31m[bold]\x00" + "é" * 30_000
    (tmp_path / "e.jsonl").write_text(json.dumps({"label": "res L0F1", "description": text}) + "\n")
    assert explain(run_dir, "--units", "res L0F1", "--explanations", str(tmp_path / "e.jsonl")) == 0
    assert "\x1b" not in capsys.readouterr().out
    (stored,) = table(run_dir)["explanation"]
    assert stored == text[:4000]
