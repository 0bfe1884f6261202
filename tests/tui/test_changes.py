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
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of, tour, type_in, until_shown

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.lists import ListsPage
from neuron_signatures.tui.screens.texts import FactsPage


def broken(tmp_path: Path, how: str) -> Path:
    run_dir = write_run(tmp_path / "run")
    tensors = run_dir / "activations.safetensors"
    if how == "missing":
        tensors.unlink()
    elif how == "truncated":
        os.truncate(tensors, 100)
    elif how == "garbage":
        tensors.write_bytes(b"\xff" * tensors.stat().st_size)
    elif how == "an invalid manifest":
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
async def test_a_run_with_damaged_tensors_shows_its_manifest_and_the_fault(tmp_path, how, fault):
    run_dir = broken(tmp_path, how)
    async with browsing(Options(run_dir=run_dir), (120, 30)) as pilot:
        shown = text_of(pilot)
        assert "cannot be read" in shown and "·x" in shown and "prompt 0/2 first" in shown
        await tour(pilot)
        shown = await press(pilot, "f")
        assert "FAULT" in shown and fault in " ".join(shown.split()) and "toy" in shown


@pytest.mark.parametrize(
    ("how", "fault", "more"),
    [
        ("an invalid manifest", "not valid JSON", ""),
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
        assert "prompt 0/2" in text_of(pilot)


@pytest.mark.parametrize("how", ["missing", "truncated", "an invalid manifest", "another format", "no manifest"])
def test_print_of_a_bad_run_is_one_line_and_exit_code_3(tmp_path, capsys, how):
    assert main(["--run_dir", str(broken(tmp_path, how)), "--print"]) == 3
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("error: ") and "\x1b" not in err


@async_test
async def test_a_replaced_file_is_noticed_and_reloaded_on_request(tmp_path):
    prompts = {"p": ["<bos>", "a", "b"]}
    make_run(tmp_path / "run", prompts, {"p": np.ones((1, 3, 2), np.float32)})
    async with browsing(Options(run_dir=tmp_path / "run"), (120, 30), poll_seconds=0.3) as pilot:
        assert "max +1 #0" in text_of(pilot)
        shutil.move(tmp_path / "run", tmp_path / "old")
        make_run(tmp_path / "run", prompts, {"p": np.full((1, 3, 2), 2, np.float32)})
        shown = await until_shown(pilot, "changed on disk")
        assert "press r: changed on disk: activations.safetensors, manifest.json" in shown
        await press(pilot, "n", "b", "up", "t", "escape")  # keys still work
        await press(pilot, "r")
        shown = await until_shown(pilot, "max +2 #0")
        assert "changed on disk" not in shown and "act +2" in shown


@async_test
async def test_a_file_truncated_while_open_is_shown_as_a_fault(tmp_path):
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
        assert "cannot be read as a Parquet table" in " ".join((await press(pilot, "d")).split())
        await press(pilot, "escape")
        assert "broken: analysis_meta.json" in await press(pilot, "w")
        await press(pilot, "end")
        assert "cannot be read as a Parquet table" in " ".join((await press(pilot, "enter")).split())


@async_test
async def test_new_results_appear_on_the_open_page_of_lists(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    shutil.move(tmp_path / "run" / "analysis", tmp_path / "analysis")
    async with browsing(Options(run_dir=tmp_path / "run"), (120, 30), poll_seconds=0.1) as pilot:
        assert "no ranked list yet" in await press(pilot, "w")
        shutil.move(tmp_path / "analysis", tmp_path / "run" / "analysis")
        assert "changed on disk" not in await until_shown(pilot, "peaks over 8 prompts")
        (tmp_path / "run" / "manifest.json").touch()
        assert "manifest.json" in await until_shown(pilot, "changed on disk")  # this needs a reload


@async_test
async def test_reload_rereads_the_lists_and_keeps_their_page(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    async with browsing(Options(run_dir=tmp_path / "run"), (120, 30)) as pilot:
        await press(pilot, "w", "down")
        before = pilot.app.screen
        (tmp_path / "run" / "analysis" / "signatures_meta.json").unlink()
        shown = await reread(pilot, before)
        assert isinstance(pilot.app.screen, ListsPage) and "which neurons matter" in shown
        assert "signatures:" not in shown and pilot.app.screen.rows.cursor == 1


@pytest.mark.parametrize("keys", ["p", "o", "t", "enter", "d", "f", "question_mark", "w", "w enter", "f question_mark"])
@async_test
async def test_reload_returns_to_the_same_screen_and_cursor(tmp_path, keys):
    shutil.copytree(DEMO, tmp_path / "run")
    async with browsing(Options(run_dir=tmp_path / "run", layer=3, neuron=508), (120, 30)) as pilot:
        await press(pilot, "i", *keys.split())
        before, names = pilot.app.screen, [type(s) for s in pilot.app.screen_stack]
        shown = text_of(pilot)
        assert await reread(pilot, before) == shown
        assert [type(s) for s in pilot.app.screen_stack] == names
        await press(pilot, *["escape"] * len(keys.split()))
        assert "L3N508" in text_of(pilot) and pilot.app.screen.include_bos


@async_test
async def test_reload_keeps_search_and_sort_orders():
    async with browsing(Options(run_dir=DEMO), (120, 30)) as pilot:
        await press(pilot, "s")
        await type_in(pilot, "Texas")
        await settle(pilot)
        assert "search Texas" in await reread(pilot, pilot.app.screen)
        await press(pilot, "escape", "v", "s")
        assert "largest |act| first" in await reread(pilot, pilot.app.screen)
        await press(pilot, "escape", "w", "enter", "slash")
        await type_in(pilot, ">0")
        await press(pilot, "s", "S", "down", "down")
        order = pilot.app.screen.view.order
        assert "filter >0" in await reread(pilot, pilot.app.screen)
        again = pilot.app.screen
        assert again.view.order == order == ("score", False, ">0") and again.rows.cursor == 2


@pytest.mark.parametrize("change", [False, True])
@async_test
async def test_reload_keeps_the_open_list_if_it_is_unchanged(tmp_path, change):
    shutil.copytree(DEMO, tmp_path / "run")
    async with browsing(Options(run_dir=tmp_path / "run", screen="peaks"), (120, 30)) as pilot:
        await press(pilot, "enter", "full_stop")
        assert "2 of 1536" in text_of(pilot)
        (tmp_path / "run" / "manifest.json").touch()
        if change:
            (tmp_path / "run" / "analysis" / "neurons_aggregated.parquet").touch()
            await press(pilot, "w", "escape")  # the page of lists drops the old list; r must notice that
        shown = await reread(pilot, pilot.app.screen)
        if change:
            assert "the open list has changed" in shown
            assert "no list is open" in await press(pilot, "full_stop")
        else:
            assert "2 of 1536" in shown and "3 of 1536" in await press(pilot, "full_stop")


async def reread(pilot, before) -> str:
    """Press r and wait until a new screen replaces `before`."""
    await pilot.press("r")
    for _ in range(400):
        await settle(pilot)
        if pilot.app.screen is not before and type(pilot.app.screen) is type(before):
            return text_of(pilot)
    raise AssertionError(f"not read again:\n{text_of(pilot)}")


def without_a_shard(run_dir: Path) -> Path:
    """A run of three prompts, each in its own file; the file of the second is missing."""
    write_run(run_dir, shard_bytes=60)
    next(run_dir.glob("activations-00002-of-*")).unlink()
    return run_dir


LOST_FILE = "activations-00002-of-00003.safetensors"
LOST = f"{LOST_FILE}: the file is missing"


def test_a_missing_shard_leaves_the_other_prompts_printed(tmp_path, capsys):
    flags = ["--run_dir", str(without_a_shard(tmp_path / "run")), "--print"]
    assert main(flags) == 0
    out = capsys.readouterr().out
    assert "this prompt  mean" in out and f"all prompts  cannot be read: {LOST}\n" in out
    assert main([*flags, "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["stats"]["n"] == 3 and record["all_prompts"]["fault"] == LOST and len(record["rows"]) == 4
    assert main([*flags, "--prompt_idx", "1"]) == 3
    assert capsys.readouterr().out == ""


def test_a_missing_shard_is_one_row_of_the_printed_stack(tmp_path, capsys):
    flags = ["--run_dir", str(without_a_shard(tmp_path / "run")), "--screen", "stack", "--print"]
    assert main(flags) == 0
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert [("unread" in x, "00002" in x) for x in rows] == [(False, False), (True, True), (False, False)]
    assert main([*flags, "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [r["fault"] for r in rows] == [None, LOST, None] and rows[1]["acts"] is None
    for path in (tmp_path / "run").glob("*.safetensors"):
        path.unlink()
    assert main(flags) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert str(tmp_path / "run" / "activations-00001-of-00003.safetensors") in said
    assert "the file is missing. Copy the whole run folder again" in said


@async_test
async def test_a_missing_shard_is_named_once_and_the_other_prompts_are_shown(tmp_path):
    async with browsing(Options(run_dir=without_a_shard(tmp_path / "run")), (120, 30)) as pilot:
        assert f"all prompts cannot be read: {LOST_FILE}" in " ".join(text_of(pilot).split())
        assert "cannot be read" in await press(pilot, "n") and "reading ..." not in text_of(pilot)
        assert not pilot.app.screen.waiting  # no job is still running
        shown = await press(pilot, "enter")
        assert "3 of 3 prompts" in shown and "1 cannot be read" in shown
        said = "".join(shown.split())
        assert str(tmp_path / "run" / LOST).replace(" ", "") + ".Copythewholerunfolderagain" in said
        rows = [next(x for x in shown.splitlines() if f" {name} " in x) for name in ("first", "second", "third")]
        assert ["unread" in x for x in rows] == [False, True, False]
        assert f"row 3 of 3 {LOST}" in " ".join((await press(pilot, "s", "end")).split())  # sorted last
        await press(pilot, "enter")
        assert "prompt 1/2 second" in text_of(pilot) and "act unread" in text_of(pilot)
        assert f"cannot be read: {LOST}" in (await press(pilot, "m")).splitlines()[-3]
