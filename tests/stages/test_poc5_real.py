"""Stage 5 with the real language model: behind a server of another project, and in this process (`make test-real`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from paths import ROOT
from real_server import RealServer

from neuron_signatures.poc5_explain_neurons import main
from neuron_signatures.runs import __main__ as runs_program
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.scoring.scores import correlation_uniform
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.simulators.choose import open_simulator
from neuron_signatures.scoring.texts import uniform_texts

pytestmark = pytest.mark.real

PUZZLES = ROOT / "tests" / "data" / "puzzles.json"
KEY = "sk-canary-5b1d6f"
NEURONS = "L0N0,L0N3,L0N6"


def explain(run_dir: Path, llm: str, *flags: str) -> int:
    common = ["--explainer", "highlighted", "--neurons", NEURONS, "--poles", "+", "--max_tokens", "60", "--no_cache"]
    return main(["--puzzles", str(PUZZLES), "--out_dir", str(run_dir), "--llm", llm, "--json", *common, *flags])


def summary(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def entries(run_dir: Path) -> list[Entry]:
    return [shown.entry for shown in Explanations.open(run_dir).all()]


def test_explanations_of_a_server_program_arrive_and_are_stored_and_scored(tmp_path, monkeypatch, capsys):
    """`transformers serve`: three samples of three puzzles, of which the embeddings choose the best."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    run_dir = tmp_path / "run"
    with RealServer() as server:
        flags = ("--base_url", server.base_url, "--concurrency", "1", "--n_samples", "3")
        explain(run_dir, f"openai:{server.model}", *flags)
        found = summary(capsys)
        log = server.output()
    made = entries(run_dir)
    assert found["finished"] and found["requests"] == len(made) == 9 == log.count('"POST /v1/chat/completions')
    ok = [e for e in made if e.status == "ok"]
    assert len(ok) >= 3 and {e.status for e in made} <= {"ok", "too_long", "unparsable", "refused"}
    assert all((e.client, e.model, e.answered_by) == ("openai", "smollm2", "smollm2@main") for e in made)
    assert all(e.prompt_tokens > 100 and 0 < e.completion_tokens <= 60 and e.cost is None for e in made)
    assert len({e.text for e in ok}) > 1, "the server did not sample"
    _check_scores(run_dir, ok)
    lines = [json.loads(line) for line in (run_dir / "llm" / "journal.jsonl").read_text().splitlines()]
    assert sum(line["answered"] for line in lines) == 9 == sum(line.get("lost") == "sent" for line in lines)
    assert runs_program.main(["verify", str(run_dir)]) == 0
    for file in run_dir.rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes(), file
    assert KEY not in log


def _check_scores(run_dir: Path, ok: list[Entry]) -> None:
    """Each explanation has a score, and where one was chosen it is the best, by the score that the choice names."""
    embedding = open_simulator("embedding", device="cpu")
    chosen = [s for s in Explanations.open(run_dir).all() if s.choice is not None]
    with Records.open(run_dir) as records:
        for e in ok:
            texts = uniform_texts(records, next(s.at for s in Explanations.open(run_dir).all() if s.id == e.id))
            value = correlation_uniform(embedding, Said(e.text), texts).value
            assert value is not None and -1 <= value <= 1
            for shown in (s for s in chosen if e.id in s.choice.values):
                assert shown.choice.values[e.id] == pytest.approx(value, abs=1e-5)
    assert chosen
    for shown in chosen:
        assert shown.choice.values[shown.id] == max(v for v in shown.choice.values.values() if v is not None)


def test_the_same_model_in_this_process(tmp_path, capsys):
    run_dir = tmp_path / "run"
    explain(run_dir, "local:smollm2", "--device", "cpu", "--temperature", "0")
    found = summary(capsys)
    made = entries(run_dir)
    assert found["finished"] and found["requests"] == len(made) == 3
    assert any(e.status == "ok" and e.text for e in made)
    assert all(e.answered_by.startswith("smollm2@gguf:b179c9523d0e") and e.cost == 0 for e in made)
    assert all(e.system_fingerprint.startswith("float32 cpu") for e in made)
    explain(run_dir, "local:smollm2", "--device", "cpu", "--temperature", "0")
    assert summary(capsys)["requests"] == 0 and entries(run_dir) == made
