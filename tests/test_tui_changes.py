"""Runs that are broken, and files that change while the browser shows them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from analysis_runs import make_run
from run_folders import write_run
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of, tour

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.tui.browser import BrowserPage
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.text_screens import FactsPage


def broken(tmp_path: Path, how: str) -> Path:
    run_dir = write_run(tmp_path / "run")
    tensors = run_dir / "activations.safetensors"
    if how == "missing":
        tensors.unlink()
    elif how == "truncated":
        os.truncate(tensors, 100)
    elif how == "garbage":
        tensors.write_bytes(b"\xff" * tensors.stat().st_size)
    elif how == "a manifest that is none":
        (run_dir / "manifest.json").write_text('{"format_version": 2, "model_name": "\\u001b[31mx"')
    elif how == "another format":
        raw = json.loads((run_dir / "manifest.json").read_text())
        (run_dir / "manifest.json").write_text(json.dumps({**raw, "format_version": 9, "model_name": "\x1b[31mx"}))
    elif how == "no manifest":
        (run_dir / "manifest.json").unlink()
    return run_dir


@pytest.mark.parametrize(
    ("how", "fault"), [("missing", "the file is missing"), ("truncated", "truncated: 100 bytes"), ("garbage", "header")]
)
@async_test
async def test_a_run_without_sound_tensors_shows_its_manifest_and_names_the_fault(tmp_path, how, fault):
    run_dir = broken(tmp_path, how)
    async with browsing(Options(run_dir=run_dir), (120, 30)) as pilot:
        shown = text_of(pilot)
        assert "cannot be read" in shown and "·x" in shown and "prompt 1/3 first" in shown
        await tour(pilot)
        shown = await press(pilot, "f")
        assert "FAULT" in shown and fault in " ".join(shown.split()) and "toy" in shown


@pytest.mark.parametrize(
    ("how", "fault", "more"),
    [
        ("a manifest that is none", "not valid JSON", ""),
        ("another format", "format_version is 9", "\\x1b[31mx"),
        ("no manifest", "there is no manifest", "broken"),
    ],
)
@async_test
async def test_a_folder_that_cannot_be_opened_is_described(tmp_path, how, fault, more):
    run_dir = broken(tmp_path, how)
    async with browsing(Options(run_dir=run_dir), (120, 30)) as pilot:
        assert isinstance(pilot.app.screen, FactsPage)
        shown = text_of(pilot)
        assert "FAULT" in shown and fault in shown and more in shown and "\x1b" not in shown
        shutil.rmtree(run_dir)
        write_run(run_dir)
        await press(pilot, "r")
        for _ in range(100):
            await settle(pilot)
            if isinstance(pilot.app.screen, BrowserPage):
                break
        assert "prompt 1/3" in text_of(pilot)


@pytest.mark.parametrize("how", ["missing", "truncated", "a manifest that is none", "another format", "no manifest"])
def test_print_of_a_bad_run_is_one_line_and_exit_code_3(tmp_path, capsys, how):
    assert main(["--run_dir", str(broken(tmp_path, how)), "--print"]) == 3
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("error: ") and "\x1b" not in err


@async_test
async def test_a_file_that_is_replaced_is_noticed_and_read_again_on_request(tmp_path):
    prompts = {"p": ["<bos>", "a", "b"]}
    make_run(tmp_path / "run", prompts, {"p": np.ones((1, 3, 2), np.float32)})
    async with browsing(Options(run_dir=tmp_path / "run"), (120, 30), poll_seconds=0.3) as pilot:
        assert "max +1 #1" in text_of(pilot)
        shutil.move(tmp_path / "run", tmp_path / "old")
        make_run(tmp_path / "run", prompts, {"p": np.full((1, 3, 2), 2, np.float32)})
        shown = await until_shown(pilot, "changed on disk")
        assert "press r to reload" in shown and "manifest.json" in shown
        await press(pilot, "n", "b", "up", "t", "escape")  # keys go on working meanwhile
        await press(pilot, "r")
        shown = await until_shown(pilot, "max +2 #1")
        assert "changed on disk" not in shown and "act +2" in shown


@async_test
async def test_a_file_that_is_cut_under_the_browser_is_a_fault_and_no_crash(tmp_path):
    run_dir = write_run(tmp_path / "run")
    async with browsing(Options(run_dir=run_dir), (120, 30), poll_seconds=0.3) as pilot:
        os.truncate(run_dir / "activations.safetensors", 0)
        await until_shown(pilot, "changed on disk")
        assert "cannot be read" in await press(pilot, "n")
        await tour(pilot)
        shutil.rmtree(run_dir)
        await press(pilot, "n", "]", "t", "escape")
        await press(pilot, "r")
        assert "FAULT" in await until_shown(pilot, "no such run folder")


@async_test
async def test_new_results_are_noticed(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    shutil.move(tmp_path / "run" / "analysis", tmp_path / "analysis")
    async with browsing(Options(run_dir=tmp_path / "run"), (120, 30), poll_seconds=0.3) as pilot:
        assert "no ranked list yet" in await press(pilot, "w")
        await press(pilot, "escape")
        shutil.move(tmp_path / "analysis", tmp_path / "run" / "analysis")
        assert "analysis/" in await until_shown(pilot, "changed on disk")
        await press(pilot, "r")
        await settle(pilot)
        assert "peaks over 8 prompts" in await press(pilot, "w")


@async_test
async def test_a_list_whose_record_is_broken_is_shown_as_broken(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    analysis = tmp_path / "run" / "analysis"
    (analysis / "analysis_meta.json").write_text("{")
    (analysis / "signatures.parquet").write_bytes(b"no parquet")
    async with browsing(Options(run_dir=tmp_path / "run", layer=3), (120, 30)) as pilot:
        assert "cannot be read as a Parquet table" in " ".join((await press(pilot, "e")).split())
        await press(pilot, "escape")
        assert "broken: analysis_meta.json" in await press(pilot, "w")
        await press(pilot, "end")
        assert "cannot be read as a Parquet table" in " ".join((await press(pilot, "enter")).split())


async def until_shown(pilot, text: str) -> str:
    for _ in range(400):
        await pilot.pause(0.01)
        shown = " ".join(text_of(pilot).split())
        if text in shown:
            return shown
    raise AssertionError(f"{text!r} did not come:\n{text_of(pilot)}")
