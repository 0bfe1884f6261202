"""The list of runs: reloading its folder, and returning to it from a run."""

from __future__ import annotations

import shutil
import threading

from run_folders import write_run
from tui_pilot import async_test, browsing, press, settle, text_of, until_shown

from neuron_signatures.runs.listing import list_runs
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.screens import runs as screens


@async_test
async def test_old_rows_stay_until_the_folder_was_reread(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        write_run(tmp_path / name)
    go = threading.Event()

    def slowly(root):
        go.wait(20)
        yield from list_runs(root)

    async with browsing(Options(runs_root=tmp_path)) as pilot:
        monkeypatch.setattr(screens, "list_runs", slowly)
        try:
            await pilot.press("r")
            await pilot.resize_terminal(90, 24)
            await pilot.pause(0.05)
            shown = text_of(pilot)
            assert "3, reading ..." in shown and "> a" in shown and "row 1 of 3" in shown
        finally:
            go.set()
        await settle(pilot)
        assert "reading ..." not in text_of(pilot) and "row 1 of 3" in text_of(pilot)


@async_test
async def test_r_keeps_the_cursor_on_its_run(tmp_path):
    for name in "bcdef":
        write_run(tmp_path / name)
    async with browsing(Options(runs_root=tmp_path)) as pilot:
        await press(pilot, "down", "down", "down")
        write_run(tmp_path / "a")
        shown = await press(pilot, "r")
        assert "> e" in shown and "row 5 of 6" in shown
        shutil.rmtree(tmp_path / "e")
        assert "row 5 of 5" in await press(pilot, "r")


@async_test
async def test_changed_files_are_reported_only_for_their_run(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name)
    async with browsing(Options(runs_root=tmp_path), poll_seconds=0.05) as pilot:
        await pilot.press("enter")
        await until_shown(pilot, "run a")
        (tmp_path / "a" / "manifest.json").touch()
        await until_shown(pilot, "press r: changed on disk: manifest.json")
        shown = await press(pilot, "escape")
        assert "runs in" in shown and "changed on disk" not in shown
        assert "no run is open" in await press(pilot, "question_mark", "r")
        await press(pilot, "escape", "down")
        await pilot.press("enter")
        await until_shown(pilot, "run b")
        await pilot.pause(0.2)
        assert "changed on disk" not in text_of(pilot)


@async_test
async def test_reload_reports_a_deleted_folder_of_runs(tmp_path):
    write_run(tmp_path / "runs" / "a")
    async with browsing(Options(runs_root=tmp_path / "runs")) as pilot:
        shutil.rmtree(tmp_path / "runs")
        shown = " ".join((await press(pilot, "r")).split())
        assert "there is no such folder" in shown and "no runs in" not in shown
        write_run(tmp_path / "runs" / "a")
        assert "> a" in await press(pilot, "r")
