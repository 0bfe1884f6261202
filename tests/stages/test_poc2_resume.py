"""Stopped commands of stage 2 go on: finished metrics are read from their files, and the result is the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from paths import DEMO_RUN, ROOT

from neuron_signatures.analysis.attribution import ablated as ablated_module
from neuron_signatures.analysis.attribution import influence as influence_module
from neuron_signatures.analysis.validation import sets as set_module
from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.results import list_influence
from neuron_signatures.runs.verify import verify_run

SEED = ["--mode", "influence", "--prompt_id", "seed_prompt", "--target_mode", "next_token", "--target_token", " Austin"]
ALL = [*SEED, "--influence_metric", "all", "--layers", "1,3", "--write_scores", "3", "--cumulative_threshold", "0.3"]
DLA_IG = [*SEED, "--influence_metric", "dla,ig", "--layers", "1"]
FINISHED = ("dla", "dla_pre_ln2_post", "act_grad")


class Stop(Exception):
    """Stands for a failure of a library."""


def fresh(folder: Path) -> Path:
    """The small committed run without its results."""
    shutil.copytree(DEMO_RUN, folder, ignore=shutil.ignore_patterns("analysis"))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run whose command was not stopped."""
    run_dir = fresh(tmp_path_factory.mktemp("whole") / "run")
    assert main(["--run_dir", str(run_dir), *ALL, "--quiet"]) == 0
    return run_dir


def files(run_dir: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((run_dir / "analysis").iterdir())}


def content(run_dir: Path) -> dict[str, object]:
    """The files; of records, everything but their time and the checksums that depend on it."""
    found: dict[str, object] = dict(files(run_dir))
    for name, raw in files(run_dir).items():
        if name.endswith(".json"):
            record = found[name] = json.loads(raw)
            record.pop("created_at_utc", None)
            record.pop("record_sha256", None)
            record["files"] = [f["name"] for f in record.get("files", [])]
    return found


def partials(run_dir: Path) -> list[str]:
    return [name for name in files(run_dir) if name.endswith("_partial.npz")]


def fail(*_: object, **__: object) -> None:
    raise Stop


def stopped(run_dir: Path, monkeypatch, *flags: str, at: str = "integrated_gradients") -> None:
    """Run the command until the metric that calls `at`."""
    with monkeypatch.context() as m:
        m.setattr(influence_module, at, fail)
        with pytest.raises(Stop):
            main(["--run_dir", str(run_dir), *(flags or ALL)])


def test_a_stopped_command_reads_the_finished_metrics_from_their_files(whole, tmp_path, monkeypatch, capsys):
    run_dir = fresh(tmp_path / "run")
    stopped(run_dir, monkeypatch)
    (marker,) = partials(run_dir)
    assert marker.startswith("unfinished_seed_prompt_all_next_token_pos8_tok704_ref-")
    assert verify_run(run_dir).faults == [] and any("unfinished command" in r for r in verify_run(run_dir).remarks)
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (run_dir / "analysis").iterdir()}
    kept = files(run_dir)
    for name in ("direct_logit_attribution", "dla_without_norms", "act_grad"):
        monkeypatch.setattr(influence_module, name, fail)  # a finished metric is not computed again
    capsys.readouterr()
    assert main(["--run_dir", str(run_dir), *ALL]) == 0
    said = capsys.readouterr()
    for metric in FINISHED:
        assert f"{metric} is finished: read from analysis/influence_seed_prompt_{metric}_next" in said.err
        assert f"computing {metric}\n" not in said.err
    assert "computing ig" in said.err and "ig: " in said.err and partials(run_dir) == []
    after = {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (run_dir / "analysis").iterdir()}
    assert {n: after[n] for n in before if n != marker} == {n: before[n] for n in before if n != marker}
    assert {n: files(run_dir)[n] for n in kept if n != marker} == {n: kept[n] for n in kept if n != marker}
    assert content(run_dir) == content(whole)
    monkeypatch.undo()
    assert main(["--run_dir", str(whole), *ALL, "--quiet"]) == 0
    assert said.out.replace(str(run_dir), str(whole)) == capsys.readouterr().out  # the summary too


def test_a_command_that_finished_computes_again(tmp_path, monkeypatch):
    run_dir = fresh(tmp_path / "run")
    flags = ["--run_dir", str(run_dir), *SEED, "--influence_metric", "dla,act_grad", "--quiet"]
    assert main(flags) == 0 and partials(run_dir) == []
    monkeypatch.setattr(influence_module, "direct_logit_attribution", fail)
    with pytest.raises(Stop):
        main(flags)


TERMINATED = """
import os, signal, sys
import neuron_signatures.analysis.attribution.estimators.gradients as g
real, calls = g._gradient_sum, []
def third(*a):
    calls.append(1)
    if len(calls) == 3: os.kill(os.getpid(), signal.{signal})
    return real(*a)
g._gradient_sum = third
from neuron_signatures.poc2_analyze_run import main
sys.exit(main({argv!r}))
"""


@pytest.mark.parametrize(("sent", "code"), [("SIGTERM", 75), ("SIGKILL", -signal.SIGKILL)])
def test_a_process_that_is_stopped_or_killed_in_ig_goes_on(whole, tmp_path, caplog, sent, code):
    run_dir = fresh(tmp_path / "run")
    argv = ["--run_dir", str(run_dir), *ALL]
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED.format(signal=sent, argv=argv)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert len(partials(run_dir)) == (2 if sent == "SIGTERM" else 1)
    assert main(argv) == 0
    assert "act_grad is finished" in caplog.text and "ig is finished" not in caplog.text
    assert ("resuming with 32 points of ig done" in caplog.text) == (sent == "SIGTERM")
    assert content(run_dir) == content(whole)


def test_a_changed_or_missing_file_is_made_again_with_a_warning(whole, tmp_path, monkeypatch, caplog):
    stop = fresh(tmp_path / "stopped")
    stopped(stop, monkeypatch)
    (stem,) = (s for s in list_influence(stop) if "_dla_next" in s)
    for i, tail in enumerate((".parquet", ".csv", ".json", "_write_scores.json", "_meta.json")):
        for change in ("missing", "changed"):
            run_dir = tmp_path / f"{i}{change}"
            shutil.copytree(stop, run_dir)
            path = run_dir / "analysis" / f"{stem}{tail}"
            raw = path.read_bytes()
            path.unlink() if change == "missing" else path.write_bytes(raw[:-9] + b"X" + raw[-8:])
            caplog.clear()
            stopped(run_dir, monkeypatch)
            assert "dla was finished, but its files have changed" in caplog.text
            assert path.exists() and (tail == "_meta.json" or path.read_bytes() == raw)
            assert "act_grad was finished" not in caplog.text
    marker = stop / "analysis" / partials(stop)[0]
    marker.write_bytes(marker.read_bytes()[:-40])
    caplog.clear()
    assert main(["--run_dir", str(stop), *ALL]) == 0
    assert f"{marker.name} is damaged" in caplog.text and "is finished" not in caplog.text
    assert content(stop) == content(whole)


@pytest.mark.parametrize("flags", [["--top_k", "7"], ["--write_scores", "4"], ["--ig_steps", "40"]])
def test_metrics_of_other_settings_are_computed_again(tmp_path, monkeypatch, caplog, flags):
    run_dir = fresh(tmp_path / "run")
    stopped(run_dir, monkeypatch, *DLA_IG)
    caplog.clear()
    stopped(run_dir, monkeypatch, *DLA_IG, *flags)
    assert "dla is finished" not in caplog.text and "computing dla" in caplog.text
    stopped(run_dir, monkeypatch, *DLA_IG, *flags)  # with the same settings again
    assert "dla is finished" in caplog.text


def test_files_of_another_command_are_not_taken_for_the_stopped_one(tmp_path, monkeypatch, caplog):
    run_dir = fresh(tmp_path / "run")
    stopped(run_dir, monkeypatch, *DLA_IG)
    assert main(["--run_dir", str(run_dir), *SEED, "--top_k", "3", "--quiet"]) == 0  # the same name
    caplog.clear()
    stopped(run_dir, monkeypatch, *DLA_IG)
    assert "dla was finished, but its files have changed (the record is another)" in caplog.text
    (stem,) = list_influence(run_dir)
    assert len(json.loads((run_dir / "analysis" / f"{stem}.json").read_bytes())["neurons"]) == 200


@pytest.mark.parametrize("reference", ["mean", "zero", "prompt:1"])
def test_the_source_of_candidates_and_a_validation_are_resumed(tmp_path, monkeypatch, reference):
    flags = [
        *SEED, "--influence_metric", "act_grad,ablation", "--top_from", "act_grad:20", "--validate", "--layers", "3",
        "--reference", reference,
    ]  # fmt: skip
    whole, run_dir = fresh(tmp_path / "whole"), fresh(tmp_path / "run")
    assert main(["--run_dir", str(whole), *flags, "--quiet"]) == 0
    stopped(run_dir, monkeypatch, *flags, at="ablations_of")
    monkeypatch.setattr(influence_module, "act_grad", fail)
    assert main(["--run_dir", str(run_dir), *flags, "--quiet"]) == 0
    assert content(run_dir) == content(whole)


def test_the_forecast_of_a_resumed_command_counts_what_is_left(tmp_path, monkeypatch, caplog):
    flags = [*SEED, "--influence_metric", "dla,ig,ablation", "--top_from", "dla:20", "--layers", "3,4"]
    run_dir = fresh(tmp_path / "run")
    caplog.set_level("INFO")
    stopped(run_dir, monkeypatch, *flags, at="ablations_of")
    assert "forecast: ig at" in caplog.text and "20 ablations of single neurons" in caplog.text
    caplog.clear()
    assert main(["--run_dir", str(run_dir), *flags]) == 0
    assert "ig is finished" in caplog.text and "forecast: 20 ablations of single neurons: " in caplog.text


@pytest.mark.parametrize("stop_at", [1, 2, 9])
def test_a_stopped_estimate_continues_with_its_ablations_and_sets(tmp_path, monkeypatch, caplog, stop_at):
    flags = [*SEED, "--influence_metric", "dla,act_grad", "--validate", "--sample", "100", "--layers", "3,4"]
    whole, run_dir = fresh(tmp_path / "whole"), fresh(tmp_path / "run")
    assert main(["--run_dir", str(whole), *flags, "--quiet"]) == 0
    real, calls = set_module.joint_ablation, []

    def stopping(*args, **kwargs):
        for chunk in real(*args, **kwargs):
            calls.append(len(chunk))
            if len(calls) == stop_at:
                raise Stop
            yield chunk

    with monkeypatch.context() as m:
        m.setattr(set_module, "joint_ablation", stopping)
        with pytest.raises(Stop):
            main(["--run_dir", str(run_dir), *flags])
    assert len(partials(run_dir)) == 2 + (stop_at > 1)  # the command, the ablations, and the sets
    for name in ("direct_logit_attribution", "act_grad"):
        monkeypatch.setattr(influence_module, name, fail)
    monkeypatch.setattr(ablated_module, "single_ablations", no_ablations)
    assert main(["--run_dir", str(run_dir), *flags, "--quiet"]) == 0
    assert content(run_dir) == content(whole) and partials(run_dir) == []


def no_ablations(_problem, neurons, *, values, done, batch):
    assert bool(done.all()), "every ablation of the sample was finished"
    return iter(())
