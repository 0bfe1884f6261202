"""A pipeline on the demo model: what runs, what is skipped, what a change touches, and what is never lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from paths import ROOT
from pipeline_cases import EXPLAINED, RANKED, change, contents, copy_of, entries, plan, run, write_config
from processes import children, wait_until

from neuron_signatures import pipeline
from neuron_signatures.runs.__main__ import main as runs_main
from neuron_signatures.runs.errors import ExitCode
from neuron_signatures.runs.explanations.people import edit
from neuron_signatures.runs.names import PIPELINE, PIPELINE_LOCK
from neuron_signatures.runs.pipeline_record import read_pipeline


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """A folder with a configuration of three short steps, and its run."""
    folder = tmp_path_factory.mktemp("ranked")
    assert run(write_config(folder, RANKED)) == ExitCode.OK
    return folder


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """The same with records and look-up rules of two neurons."""
    folder = tmp_path_factory.mktemp("explained")
    assert run(write_config(folder, RANKED, EXPLAINED)) == ExitCode.OK
    assert any(e.status == "ok" for e in entries(folder / "run"))
    return folder


def actions(found: dict[str, tuple[str, str]]) -> list[str]:
    return [action for action, _ in found.values()]


def test_what_is_done_is_skipped(ranked, tmp_path, capsys):
    path = copy_of(ranked, tmp_path / "copy")
    assert actions(plan(path, capsys)) == ["done"] * 3
    before = (tmp_path / "copy" / "run" / PIPELINE).read_bytes()
    assert run(path) == ExitCode.OK
    assert "0 steps run, 3 done before" in capsys.readouterr().out
    assert (tmp_path / "copy" / "run" / PIPELINE).read_bytes() == before


def test_only_the_steps_that_a_change_touches_run_again(ranked, tmp_path, capsys):
    path = change(copy_of(ranked, tmp_path / "copy"), "[[rank]]\n\n", "[[rank]]\ntop_k = 3\n\n")
    found = plan(path, capsys)
    assert found["rank peaks"] == ("again", "top_k = 3 is new") and found["dump"] == ("done", "")
    assert run(path) == ExitCode.OK
    out = capsys.readouterr().out
    assert "step 2/3 rank peaks: done" in out and "step 1/3" not in out and "step 3/3" not in out
    assert "1 step run, 2 done before" in out
    assert actions(plan(path, capsys)) == ["done"] * 3
    kept = json.loads((tmp_path / "copy" / "run" / "analysis" / "top_neurons.json").read_text())
    assert len(kept["neurons"] if isinstance(kept, dict) else kept) == 3


def test_steps_are_recognised_in_another_order(ranked, tmp_path, capsys):
    path = change(copy_of(ranked, tmp_path / "copy"), "[[rank]]\n\n", '[[rank]]\nmode = "signatures"\n\n[[rank]]\n\n')
    found = plan(path, capsys)
    assert found["rank signatures"] == ("new", "") and actions(found).count("done") == 3


def test_a_result_that_was_changed_or_removed_is_made_again(ranked, tmp_path, capsys):
    path = copy_of(ranked, tmp_path / "copy")
    meta = tmp_path / "copy" / "run" / "analysis" / "analysis_meta.json"
    meta.write_text(meta.read_text() + "\n")
    assert plan(path, capsys)["rank peaks"] == ("again", "analysis/analysis_meta.json has changed")
    meta.unlink()
    assert plan(path, capsys)["rank peaks"] == ("again", "analysis/analysis_meta.json is missing")


def test_a_file_of_a_result_that_was_removed_is_made_again(explained, tmp_path, capsys):
    path = copy_of(explained, tmp_path / "copy")
    (tmp_path / "copy" / "run" / "analysis" / "neurons_aggregated.parquet").unlink()
    (tmp_path / "copy" / "run" / "explanations" / "lookup.jsonl").unlink()
    found = plan(path, capsys)
    assert found["rank peaks"] == ("again", "neurons_aggregated.parquet is missing or of another size")
    assert found["explain lookup"] == ("again", "lookup.jsonl is missing or of another size")
    assert run(path) == ExitCode.OK
    assert set(actions(plan(path, capsys))) == {"done"}


def test_a_configuration_that_leaves_out_steps_says_which(explained, tmp_path, capsys):
    path = copy_of(explained, tmp_path / "copy")
    text = path.read_text()
    path.write_text(text[: text.index("[dump]")] + text[text.index("[[explain]]") :])
    assert run(path) == ExitCode.USAGE
    assert "it depended on records, which this configuration leaves out" in capsys.readouterr().err


def test_another_run_is_refused_without_overwrite(ranked, tmp_path, capsys):
    """Other prompts need another run: the message says which file has changed and what would be lost."""
    path = copy_of(ranked, tmp_path / "copy")
    prompts = tmp_path / "copy" / "prompts.json"
    prompts.write_text(prompts.read_text().replace("Reno", "Tulsa"))
    manifest = (tmp_path / "copy" / "run" / "manifest.json").read_bytes()
    assert run(path) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert "dump           replaced:" in captured.out and "again: depends on dump" in captured.out
    assert "prompts.json has changed" in captured.err and "lost would be the run with analysis" in captured.err
    assert (tmp_path / "copy" / "run" / "manifest.json").read_bytes() == manifest
    assert run(path, "--overwrite", "--until", "dump") == ExitCode.OK
    assert b"Tulsa" in (tmp_path / "copy" / "run" / "manifest.json").read_bytes()
    assert actions(plan(path, capsys)) == ["done", "again", "again"]


@pytest.mark.slow
def test_a_replacement_that_was_stopped_before_it_began(ranked, tmp_path, capsys, monkeypatch):
    """Its old run is still there: without --overwrite the stage refuses it, with it the run is replaced."""
    path = change(copy_of(ranked, tmp_path / "copy"), "[dump]", "[dump]\nlimit = 5")
    killed = lambda *args, **kwargs: 128 + signal.SIGKILL  # noqa: E731
    monkeypatch.setattr("neuron_signatures.steps.run.run_stage", killed)
    assert run(path, "--overwrite") == 128 + signal.SIGKILL
    monkeypatch.undo()
    assert "failed with exit code 137" in capsys.readouterr().err
    assert plan(path, capsys)["dump"] == ("again", "was stopped")
    assert plan(path, capsys, "--overwrite")["dump"] == ("replace", "was stopped")
    assert run(path, "--until", "dump") == ExitCode.USAGE
    assert run(path, "--overwrite", "--until", "dump") == ExitCode.OK


@pytest.mark.slow
def test_a_run_that_no_pipeline_has_made(ranked, tmp_path, capsys):
    """If it fits, it is kept; if not, its stage refuses it, until --overwrite is given."""
    path = copy_of(ranked, tmp_path / "copy")
    record, manifest = (tmp_path / "copy" / "run" / name for name in (PIPELINE, "manifest.json"))
    record.unlink()
    before = manifest.read_bytes()
    assert plan(path, capsys)["dump"] == ("new", "")
    assert plan(path, capsys, "--overwrite")["dump"] == ("replace", "the run there is of no pipeline")
    assert run(path, "--until", "dump") == ExitCode.OK
    assert manifest.read_bytes() == before and actions(plan(path, capsys))[0] == "done"
    record.unlink()
    change(path, "[dump]", "[dump]\nlimit = 5")
    assert run(path) == ExitCode.USAGE
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: step 1/3 dump failed with exit code 2: python -m") and "run the same" in error
    assert read_pipeline(tmp_path / "copy" / "run").steps == []


def test_a_stage_that_fails_stops_the_pipeline(ranked, tmp_path, capfd):
    """With its exit code; what was done before is kept."""
    path = change(copy_of(ranked, tmp_path / "copy"), 'a = "tx_*@last"', 'a = "ny_*@last"')
    assert run(path) == ExitCode.USAGE
    captured = capfd.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 2 and "ny_" in lines[0] and "step 3/3 rank contrast failed with exit code 2" in lines[1]
    change(path, 'a = "ny_*@last"', 'a = "tx_*@last"')
    assert run(path) == ExitCode.OK
    assert "0 steps run, 3 done before" in capfd.readouterr().out


def test_a_damaged_record(ranked, tmp_path, capsys):
    path = copy_of(ranked, tmp_path / "copy")
    run_dir = tmp_path / "copy" / "run"
    capsys.readouterr()
    assert runs_main(["show", str(run_dir)]) == 0
    assert "pipeline 3 of 3 steps done" in capsys.readouterr().out
    assert runs_main(["verify", str(run_dir)]) == 0
    record = run_dir / PIPELINE
    record.write_text(record.read_text().replace('"done"', '"gone"', 1))
    assert runs_main(["verify", str(run_dir)]) == ExitCode.BAD_RUN
    assert run(path) == ExitCode.BAD_RUN
    assert "Remove this file" in capsys.readouterr().err


def test_two_pipelines_do_not_share_a_run(ranked, tmp_path, capsys):
    from neuron_signatures.runs.lock import lock_file

    path = copy_of(ranked, tmp_path / "copy")
    with lock_file(tmp_path / "copy" / "run", PIPELINE_LOCK, "busy"):
        assert run(path) == ExitCode.LOCKED
    assert "another pipeline is running" in capsys.readouterr().err


def test_the_json_summary(ranked, tmp_path, capsys):
    path = change(copy_of(ranked, tmp_path / "copy"), 'a = "tx_*@last"', 'a = "ca_*,nv_*@last"')
    capsys.readouterr()
    assert run(path, "--json") == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert [s["action"] for s in found["steps"]] == ["done", "done", "again"] and found["ran"] is True
    assert found["steps"][2]["seconds"] > 0 and found["steps"][0]["seconds"] is None


@pytest.mark.slow
def test_more_neurons_are_added_and_other_records_replace(explained, tmp_path, capsys):
    path = copy_of(explained, tmp_path / "copy")
    assert actions(plan(path, capsys)) == ["done"] * 5
    change(path, '"L3N307"]', '"L3N307", "L2N5"]')
    found = plan(path, capsys)
    assert found["records"][0] == "again" and found["explain lookup"] == ("again", "depends on records")
    assert run(path) == ExitCode.OK
    before = contents(tmp_path / "copy" / "run")["texts"]
    assert before == contents(explained / "run")["texts"]  # of the two neurons
    change(path, "max_tokens = 3000", "max_tokens = 3200")
    capsys.readouterr()
    assert run(path) == ExitCode.USAGE
    assert "lost would be the records" in capsys.readouterr().err
    assert run(path, "--overwrite") == ExitCode.OK
    assert actions(plan(path, capsys)) == ["done"] * 5
    assert run(write_config(tmp_path / "copy", RANKED, EXPLAINED.replace("3000", "3200"), run_dir="fresh")) == 0
    assert contents(tmp_path / "copy" / "run")["texts"] == contents(tmp_path / "copy" / "fresh")["texts"]


@pytest.mark.slow
def test_a_refusal_names_the_set_and_the_scores(explained, tmp_path, capsys):
    """Other records replace both; scores for which a language model was asked are not removed."""
    path = copy_of(explained, tmp_path / "copy")
    path.write_text(path.read_text() + '\n[[score]]\nscorers = "rule"\n')
    assert run(path) == ExitCode.OK
    change(path, "max_tokens = 3000", "max_tokens = 3200")
    capsys.readouterr()
    assert run(path) == ExitCode.USAGE
    message = capsys.readouterr().err
    assert "records cannot keep what is there (max_tokens 3000 -> 3200); lost would be the records" in message
    assert "the set lookup (look-up rules, which cost nothing), the scores lookup__rule. Give" in message

    settings = tmp_path / "copy" / "run" / "scores" / "lookup__rule_settings.json"
    about = json.loads(settings.read_text())
    about["settings"]["llm"] = "openai:x"
    settings.write_text(json.dumps(about))
    for flags in ((), ("--overwrite",)):
        assert run(path, *flags) == ExitCode.USAGE
        message = capsys.readouterr().err
        assert (
            "explain lookup cannot continue the set lookup and the scores lookup__rule (depends on records)" in message
        )
        assert "and does not remove them: a language model was asked for the scores lookup__rule" in message


@pytest.mark.slow
def test_what_people_wrote_is_not_removed(explained, tmp_path, capsys):
    """Other records cannot continue the set: it needs another name, also with --overwrite."""
    path = change(copy_of(explained, tmp_path / "copy"), "max_tokens = 3000", "max_tokens = 3200")
    run_dir = tmp_path / "copy" / "run"
    edit(run_dir, next(e for e in entries(run_dir) if e.status == "ok").id, "cities", "Ada")
    capsys.readouterr()
    assert run(path, "--overwrite") == ExitCode.USAGE
    assert "it has 1 edits, votes and notes of people. Give the step another name with set" in capsys.readouterr().err
    change(path, 'explainer = "lookup"', 'explainer = "lookup"\nset = "rules"')
    assert run(path, "--overwrite") == ExitCode.OK
    assert "cities" in {e.text for e in entries(run_dir)} and entries(run_dir, "rules")


def started(path) -> subprocess.Popen:
    command = [sys.executable, "-m", "neuron_signatures.pipeline", "--config", str(path), "--quiet"]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)


def step_runs(run_dir, stage: str) -> bool:
    record = read_pipeline(run_dir)
    return record is not None and any(s.stage == stage and s.status == "started" for s in record.steps)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("stage", ["dump", "rank", "records", "explain"])
def test_a_pipeline_that_was_killed_gives_the_same(explained, tmp_path, stage):
    """Its stage stops with it, and the same command continues."""
    path = write_config(tmp_path, RANKED, EXPLAINED)
    process = started(path)
    wait_until(lambda: step_runs(tmp_path / "run", stage) and children(process.pid), 120, f"{stage} runs")
    (child,) = children(process.pid)
    process.kill()
    process.wait()
    process.stderr.close()
    wait_until(lambda: not os.path.exists(f"/proc/{child}"), 60, "the stage ends")  # noqa: PTH110
    assert run(path) == ExitCode.OK
    assert contents(tmp_path / "run") == contents(explained / "run")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_stage_and_the_pipeline_can_go_on(explained, tmp_path, number):
    path = write_config(tmp_path, RANKED, EXPLAINED)
    process = started(path)
    wait_until(lambda: step_runs(tmp_path / "run", "records"), 120, "records are made")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    last = err.decode().strip().splitlines()[-1]
    assert process.returncode == ExitCode.RESUMABLE, err
    assert "stopped by" in last and "run the same pipeline again" in last
    assert run(path) == ExitCode.OK
    assert contents(tmp_path / "run") == contents(explained / "run")


def test_the_program_starts_it(capsys):
    from neuron_signatures.__main__ import main

    assert main(["pipeline", "--print_example"]) == ExitCode.OK
    assert "[[rank]]" in capsys.readouterr().out
    assert pipeline.make_parser().prog == "python -m neuron_signatures.pipeline"


@pytest.mark.slow
def test_the_modes_of_stage_7_make_a_run_without_prompts(tmp_path, capsys):
    path = tmp_path / "pipeline.toml"
    path.write_text(f"""
run_dir = {json.dumps(str(tmp_path / "run"))}
[model]
model_name = "demo"
model_dtype = "fp32"
device = "cpu"
[collect_skills]
texts = "demo"
n_texts = 10
layers = "3"
[compare_skills]
n_permutations = 100
n_draws = 100
no_probes = true
[report]
""")
    assert run(path) == ExitCode.OK
    assert actions(plan(path, capsys)) == ["done"] * 3
    change(path, "n_permutations = 100", "n_permutations = 110")
    assert actions(plan(path, capsys)) == ["done", "again", "again"]
    assert "Which units belong to which skill?" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
