"""`poc7_compare_skills --mode classify` as a command, with a server on loopback."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from misbehaving_server import MODEL, Act, Asked, MisbehavingServer, answer, no_quota, server_error
from synthetic_skills import CLASSES, make_skill_run, own_class, skill_table

from neuron_signatures import poc7_compare_skills
from neuron_signatures.runs.skills import columns
from neuron_signatures.runs.skills.meta import ResultMeta, read_meta

CANARY = "sk-canary-5f1d0c9a7e3b48d2"
N_UNITS, N_CLASSES = 8, 4
RATER = f"openai:{MODEL}"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 8 features of layer 0 have the explanation `words of <own class>`."""
    folder = tmp_path_factory.mktemp("classify")
    run_dir = make_skill_run(folder / "run")
    rows = [{"label": f"res L0F{i}", "explanation": f"words of {own_class(i)}"} for i in range(N_UNITS)]
    (folder / "e.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    flags = ["--mode", "explain", "--run_dir", str(run_dir), "--quiet", "--units", ",".join(r["label"] for r in rows)]
    assert poc7_compare_skills.main([*flags, "--explanations", str(folder / "e.jsonl")]) == 0
    return run_dir


@pytest.fixture
def run_dir(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import shutil

    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("NEURON_SIGNATURES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("neuron_signatures.skills.classify.stage.by_embedding", without_embeddings)
    return Path(shutil.copytree(prepared, tmp_path / "run"))


def without_embeddings(pairs, classes, *, device):
    return [], "left out: a test"


def classify(run_dir: Path, *flags: str) -> int:
    return poc7_compare_skills.main(["--mode", "classify", "--run_dir", str(run_dir), "--quiet", *flags])


def ask(run_dir: Path, server: MisbehavingServer, *flags: str) -> int:
    llm = ("--llm", RATER, "--base_url", server.base_url, "--no_cache")
    return classify(run_dir, *llm, *flags)


def reader(asked: Asked) -> Act:
    """A rater that reads: yes where the explanation names the class."""
    name = re.search(r"belong to the class (\w+)\?", asked.prompt)[1]
    text = asked.prompt.split("⟦data⟧\n")[1].split("\n⟦end of data⟧")[0]
    return answer(json.dumps({"answer": "yes" if name in text else "no", "confidence": 0.8}))


def agreement(run_dir: Path, a: str, b: str, name: str = ""):
    frame = skill_table(run_dir, "agreement")
    (row,) = frame[(frame["class"] == name) & (frame["rater_a"] == a) & (frame["rater_b"] == b)].itertuples()
    return row


def test_baselines_work_without_a_model(run_dir, capsys):
    assert classify(run_dir) == 0
    assert "left out: a test" in capsys.readouterr().out
    frame = skill_table(run_dir, "classifications")
    assert list(frame.columns) == list(columns.CLASSIFICATIONS)
    assert frame.groupby("rater").size().to_dict() == {"activations": 32, "auroc": 32}
    assert classify(run_dir, "--llm", "none") == 0
    assert read_meta(run_dir, "classify", ResultMeta).facts["n_pairs"] == 32


def test_every_explanation_is_asked_about_every_class_twice(run_dir, capsys):
    with MisbehavingServer(reader) as server:
        assert ask(run_dir, server) == 0
        assert len(server.requests) == N_UNITS // 2 * N_CLASSES * 2  # pairs of units share an explanation
        assert len(set(server.prompts)) == len(server.prompts)
        assert ask(run_dir, server) == 0
        assert len(server.requests) == 32
    out = capsys.readouterr().out
    assert "kappa 1.00" in out and "not paid again" in out
    rows = skill_table(run_dir, "classifications")
    rows = rows[rows["rater"] == RATER]
    assert len(rows) == N_UNITS * N_CLASSES * 2 and set(rows["sample"]) == {0, 1}
    assert ((rows["answer"] == "yes") == (rows["class"] == rows["own_class"])).all()
    between, known = agreement(run_dir, f"{RATER} #0", f"{RATER} #1"), agreement(run_dir, RATER, "activations")
    assert (between.kappa, between.n, between.n_units) == (1.0, 32, 8)
    assert known.kappa == 1.0 and known.chance == pytest.approx(10 / 16)
    assert agreement(run_dir, "auroc", RATER).auroc == 1.0
    (control,) = skill_table(run_dir, "classification_controls").itertuples()
    assert (control.null, control.value, control.n_null) == ("permuted", 1.0, 1000) and control.p < 0.01
    ledger = json.loads((run_dir / "llm" / "ledger.json").read_text())
    assert ledger["stages"]["classify"]["requests"] == 32
    assert read_meta(run_dir, "classify", ResultMeta).facts["answered_by"] == {RATER: [MODEL]}


def test_own_pairs_with_one_shuffled_set(run_dir):
    with MisbehavingServer(reader) as server:
        assert ask(run_dir, server, "--pairs", "own", "--controls") == 0
        assert len(server.requests) <= 2 * 2 * N_UNITS
    rows = skill_table(run_dir, "classifications")
    rows = rows[(rows["rater"] == RATER) & (rows["control"] == "other")]
    assert len(rows) == 2 * N_UNITS and set(rows["answer"]) == {"no"} and "" not in set(rows["of_unit"])
    (control,) = skill_table(run_dir, "classification_controls").itertuples()
    assert (control.null, control.value, control.null_mean) == ("one_set", 1.0, 0.0)
    assert agreement(run_dir, f"{RATER} #0", f"{RATER} #1").n == N_UNITS


def test_two_models(run_dir):
    def script(asked):
        return answer('{"answer": "no", "confidence": 1}') if asked.body["model"] == "other" else reader(asked)

    with MisbehavingServer(script) as server:
        assert ask(run_dir, server, "--llm", "openai:other", "--samples", "1") == 0
    row = agreement(run_dir, RATER, "openai:other")
    assert row.kappa == pytest.approx(0.0) and row.agreement == pytest.approx(0.75)
    ledger = json.loads((run_dir / "llm" / "ledger.json").read_text())
    assert ledger["stages"]["classify"]["requests"] == 32


def test_hand_labels(run_dir, tmp_path, capsys):
    labels = tmp_path / "labels.csv"
    rows = [f"sae,res,0,{i},{name},{'yes' if name == own_class(i) else 'no'}" for i in range(4) for name in CLASSES]
    labels.write_text("source,site,layer,unit,class,answer\n" + "\n".join(rows) + "\n")
    with MisbehavingServer(reader) as server:
        assert ask(run_dir, server, "--hand_labels", str(labels)) == 0
    assert agreement(run_dir, RATER, "hand").kappa == 1.0 and agreement(run_dir, RATER, "hand").n == 16
    assert agreement(run_dir, "auroc", "hand").auroc == 1.0
    labels.with_suffix(".jsonl").write_text('{"label": "res L0F1", "class": "empathy", "answer": "uncertain"}\n')
    assert classify(run_dir, "--hand_labels", str(labels.with_suffix(".jsonl"))) == 0
    for text, said in [("sae,res,0,1,empathy,perhaps", "not yes, no or uncertain"),
                       ("sae,res,0,1,poetry,yes", "no class"),
                       ("sae,res,7,1,empathy,yes", "was not collected"), ("sae,res,0,99,empathy,yes", "no unit 99"),
                       (f"{rows[0]}\n{rows[0]}", "labelled in line 2"), ("sae,res,x,1,empathy,yes", "no number"),
                       ("sae,,0,1,empathy,yes", "no site"), ("sae,mlp,1,1,empathy,yes", "labels none")]:  # fmt: skip
        labels.write_text(f"source,site,layer,unit,class,answer\n{text}\n")
        assert classify(run_dir, "--hand_labels", str(labels)) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1


def test_failed_answers_are_statuses_and_exit_1(run_dir):
    def script(asked):
        return answer("Yes, it does.") if "programming?" in asked.prompt else reader(asked)

    with MisbehavingServer(script) as server:
        assert ask(run_dir, server) == 1
        n = len(server.requests)
        assert ask(run_dir, server) == 1
        assert len(server.requests) == n
        server.script = reader
        assert ask(run_dir, server, "--retry_failed") == 0
        assert n < len(server.requests) < 2 * n
    rows = skill_table(run_dir, "classifications")
    assert set(rows[rows["rater"] == RATER]["status"]) == {"ok"}


def test_a_limit_stops_with_75_and_the_same_command_continues(run_dir, capsys):
    with MisbehavingServer(reader) as server:
        assert ask(run_dir, server, "--max_requests", "10") == 75
        assert "--max_requests 10 is reached" in capsys.readouterr().err
        assert len(server.requests) == 10
        assert not (run_dir / "skills" / "classify_meta.json").exists()
        assert ask(run_dir, server, "--max_requests", "32") == 0
        assert len(server.requests) == 32


def test_no_quota_stops_at_once(run_dir):
    with MisbehavingServer(lambda asked: no_quota()) as server:
        assert ask(run_dir, server, "--concurrency", "1") == 75
        assert len(server.requests) < 5


def test_the_key_is_nowhere(run_dir, capsys):
    with MisbehavingServer(lambda asked: server_error()) as server:
        assert ask(run_dir, server, "--samples", "1", "--classes", "empathy", "--timeout", "5", "--layers", "0") == 1
    found = b"".join(p.read_bytes() for p in run_dir.rglob("*") if p.is_file())
    out = capsys.readouterr()
    assert CANARY.encode() not in found and CANARY not in out.out + out.err


def test_descriptions_of_classes(run_dir, tmp_path, capsys):
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({"mathematics": "sums and proofs"}))
    with MisbehavingServer(reader) as server:
        assert ask(run_dir, server, "--samples", "1", "--class_descriptions", str(file)) == 0
        assert "- mathematics: sums and proofs" in server.prompts[0] and "- empathy: happy, sad" in server.prompts[0]
    for text, said in [
        ('{"poetry": "verse"}', "no class 'poetry'"),
        ('{"mathematics": 3}', "no JSON object"),
        ("[", "JSON"),
    ]:
        file.write_text(text)
        assert classify(run_dir, "--class_descriptions", str(file)) == 2
        assert said in capsys.readouterr().err


def test_dry_run_sends_nothing(run_dir, capsys):
    with MisbehavingServer(reader) as server:
        assert ask(run_dir, server, "--dry_run", "--json") == 0
        assert not server.requests
    found = json.loads(capsys.readouterr().out)
    assert found["models"][RATER]["requests"] == 32 and found["models"][RATER]["cost"] is None
    assert not (run_dir / "skills" / "classify_meta.json").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--controls",), "whose null needs no requests"),
        (("--max_cost", "3"), "is for a language model"),
        (("--classes", "poetry"), "no class 'poetry'"),
        (("--sources", "neurons"), "no unit has an explanation"),
        (("--llm", "gpt"), "names no language model"),
        (("--llm", "openai:a", "--llm", "openai:a"), "is there twice"),
        (("--units", "L0N2+"), "has no effect with --mode classify"),
    ],
)
def test_mistakes_are_one_line(run_dir, capsys, flags, said):
    assert classify(run_dir, *flags) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_it_needs_explanations(tmp_path, capsys):
    assert classify(make_skill_run(tmp_path / "run")) == 2
    assert "--mode explain" in capsys.readouterr().err
