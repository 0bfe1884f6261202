"""The health of a run in the facts: on the screen, printed, as data."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from analysis_runs import make_run, make_v1_run
from run_folders import write_run, write_v1
from textual.command import CommandPalette
from tui_pilot import DEMO, async_test, browsing, press, text_of, type_in

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.screens.input_box import Ask

PROMPTS = {"p": ["<bos>", "a", "b"], "q": ["<bos>", "c"]}


def flawed(path, *, bad: int, failed: int):
    """A run with `bad` NaN among 10 values, and `failed` failed prompts."""
    acts = {k: np.ones((1, len(t), 2), np.float32) for k, t in PROMPTS.items()}
    acts["p"].reshape(-1)[: min(bad, 6)] = np.nan
    acts["q"].reshape(-1)[: max(0, bad - 6)] = np.nan
    make_run(path, PROMPTS, acts)
    raw = json.loads((path / "manifest.json").read_text())
    raw["failed_prompts"] = [{"prompt_id": f"f{i}", "reason": "out of memory"} for i in range(failed)]
    (path / "manifest.json").write_text(json.dumps(raw))
    return path


@pytest.mark.parametrize(
    ("bad", "failed", "said"),
    [
        (10, 0, "10 of 10 values are not finite;"),
        (1, 0, "1 of 10 values are not finite;"),
        (0, 5, "5 of 7 prompts failed;"),
        (7, 1, "7 of 10 values are not finite, 1 of 3 prompts failed;"),
    ],
)
@async_test
async def test_a_run_with_nonfinite_values_or_failed_prompts_is_flawed(tmp_path, bad, failed, said):
    async with browsing(Options(run_dir=flawed(tmp_path / "run", bad=bad, failed=failed), screen="run")) as pilot:
        lines = text_of(pilot).splitlines()
        assert lines[1].startswith("FLAWED ") and said in lines[1]
        assert not any(x.startswith(("sound", "not counted")) for x in lines)
        beside = "\n".join(lines[2:8])
        assert ("not finite" in beside) == bool(bad) and ("f0: out of memory" in beside) == bool(failed)


@pytest.mark.parametrize(
    ("bad", "failed", "verdict"), [(0, 0, "sound"), (10, 0, "flawed"), (0, 2, "flawed"), (0, 0, "fault")]
)
def test_the_verdict_in_json(tmp_path, capsys, bad, failed, verdict):
    run_dir = flawed(tmp_path / "run", bad=bad, failed=failed)
    if verdict == "fault":
        os.truncate(run_dir / "activations.safetensors", 10)
    assert main(["--run_dir", str(run_dir), "--screen", "run", "--print", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["verdict"], record["nonfinite"], record["n_failed"]) == (verdict, bad, failed)
    assert [("truncated" in f) for f in record["faults"]] == ([True] if verdict == "fault" else [])
    assert record["checksums"] is False


def test_a_sound_run_says_what_was_not_checked(tmp_path, capsys):
    run_dir = flawed(tmp_path / "run", bad=0, failed=0)
    assert main(["--run_dir", str(run_dir), "--screen", "run", "--print"]) == 0
    said = " ".join(capsys.readouterr().out.split("\nrun ")[0].split())
    assert said.startswith("sound ") and "checksums are not compared here" in said and "runs verify" in said


def test_format_1_does_not_record_nonfinite_values(tmp_path, capsys):
    make_v1_run(tmp_path / "run", PROMPTS, {k: np.ones((1, len(t), 2), np.float32) for k, t in PROMPTS.items()})
    run = ["--run_dir", str(tmp_path / "run"), "--screen", "run", "--print"]
    assert main(run) == 0
    out = capsys.readouterr().out
    assert "not finite      not recorded in format 1" in out and "sound" not in out
    said = " ".join(out.split("not finite   ")[0].split())
    assert said.startswith("not counted 1 file") and "format 1 does not record whether all values are finite" in said
    assert "neuron_signatures.runs verify" in said and "migrate counts" in said
    assert main([*run, "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["nonfinite"] is None and record["verdict"] == "uncounted"


@async_test
async def test_a_run_with_an_invalid_manifest_is_broken(tmp_path):
    run_dir = write_run(tmp_path / "run")
    raw = json.loads((run_dir / "manifest.json").read_text())
    (run_dir / "manifest.json").write_text(json.dumps({**raw, "wall_seconds": "long"}))
    async with browsing(Options(run_dir=run_dir), (120, 30)) as pilot:
        shown = text_of(pilot)
        assert "FAULT" in shown and "complete" not in shown
        assert "status          broken, although the files have the sizes" in shown


@async_test
async def test_a_box_has_no_palette():
    async with browsing(Options(run_dir=DEMO)) as pilot:
        await press(pilot, "g")
        await press(pilot, "ctrl+p")
        assert isinstance(pilot.app.screen, Ask)
        await type_in(pilot, "5")
        assert pilot.app.screen.cursor.neuron == 5
        await press(pilot, "ctrl+p")
        assert CommandPalette.is_open(pilot.app)


def test_the_facts_of_format_1_are_those_that_it_records(tmp_path, capsys):
    write_v1(tmp_path / "run")
    flags = ["--run_dir", str(tmp_path / "run"), "--screen", "run", "--print"]
    assert main(flags) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "weights not recorded" in said and "time not recorded" in said
    assert "BOS prepended, id not recorded" in said
    assert main([*flags, "json"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["format_version"] == 1
