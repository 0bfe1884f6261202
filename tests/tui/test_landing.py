"""Where a run opens, the list beside the tokens, the mouse, copies and exports."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from threading import Event

import pytest
from analysis_runs import make_run, random_acts
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of, until_shown

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.tui.app import BrowseApp
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.run.opening import first_selected, landing, open_run
from neuron_signatures.tui.screens import browser_state
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.lists import ListPage
from neuron_signatures.tui.screens.tables import StackPage
from neuron_signatures.tui.screens.texts import FactsPage
from neuron_signatures.views.lists.validated import landing_list

FIRST = "influence_seed_prompt_ablation_next_token_pos8_tok704"


@async_test
async def test_a_run_opens_on_the_first_stored_neuron_of_its_list():
    async with browsing(Options(run_dir=DEMO)) as pilot:
        shown = text_of(pilot)
        walk = pilot.app.screen.walk
        assert walk is not None and pilot.app.screen.cursor.at == walk.row().at
        label = walk.row().at.label
        assert shown.startswith(label) and re.search(rf"{label} is \d+ of 1536", shown)
        assert pilot.app.screen.cursor.pos == 8
        await press(pilot, "full_stop")
        assert pilot.app.screen.cursor.at == pilot.app.screen.walk.row().at != walk.row().at
        await press(pilot, "comma")
        assert pilot.app.screen.cursor.at == walk.row().at
        await press(pilot, "w", "enter")  # the cursor is on the open list
        assert pilot.app.screen.ref == walk.view.ranked.ref


@pytest.mark.parametrize(
    ("flags", "there"),
    [
        ({"layer": 3}, Cursor(0, 3, 0, 8)),
        ({"neuron": 7}, Cursor(0, 1, 7, 8)),
        ({"prompt_idx": 1}, Cursor(1, 1, 0, 9)),
        ({"prompt_id": "probe_1_Austin", "ctx_idx": 0}, Cursor(1, 1, 0, 0)),
    ],
)
@async_test
async def test_flags_that_name_a_place_win(flags, there):
    async with browsing(Options(run_dir=DEMO, **flags)) as pilot:
        assert pilot.app.screen.cursor == there and pilot.app.screen.walk is None


@async_test
async def test_a_run_without_lists_or_with_a_broken_one_opens_on_its_first_neuron(tmp_path):
    prompts = {"p": ["<bos>", "a", "b"]}
    make_run(tmp_path / "bare", prompts, random_acts(prompts, n_layers=1, d_mlp=2))
    shutil.copytree(DEMO, tmp_path / "broken")
    for path in (tmp_path / "broken" / "analysis").glob("*.parquet"):
        path.write_bytes(b"PAR1")
    for name in ("bare", "broken"):
        async with browsing(Options(run_dir=tmp_path / name), (170, 40)) as pilot:
            assert pilot.app.screen.walk is None and pilot.app.screen.cursor.neuron == 0
            assert "no ranked list" in text_of(pilot)


def test_a_printed_browser_lands_at_the_same_neuron(capsys):
    assert main(["--run_dir", str(DEMO), "--print", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert main(["--run_dir", str(DEMO), "--screen", "lists", "--print", "json", "--limit", "1"]) == 0
    (ref,) = json.loads(capsys.readouterr().out)["rows"]
    where = ["--run_dir", str(DEMO), "--screen", ref["kind"], "--list", ref["stem"], "--print", "json"]
    assert main(where) == 0
    first = next(r for r in json.loads(capsys.readouterr().out)["rows"] if r["stored"])
    assert (printed["layer"], printed["neuron"]) == (first["layer"], first["neuron"])


@pytest.mark.parametrize(("columns", "panes"), [(119, 1), (120, 2), (159, 2), (160, 3), (200, 3)])
@async_test
async def test_list_tokens_and_text_stand_side_by_side_from_160_columns(columns, panes):
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508), (columns, 40)) as pilot:
        shown = text_of(pilot)
        heads = [x for x in shown.splitlines() if "act ±" in x or "# neuron" in x]
        assert ("what L3N508 writes" in shown) == (panes > 1)
        assert any("# neuron" in x for x in heads) == (panes == 3)
        assert all(len(x.rstrip()) <= columns for x in shown.splitlines())
        assert "The capital of the state" in shown


@async_test
async def test_heads_have_three_lines_at_80x24_and_d_shows_the_rest():
    async with browsing(Options(run_dir=DEMO, screen="influence", list_name=FIRST)) as pilot:
        lines = text_of(pilot).splitlines()
        assert lines[3].split()[:2] == ["#", "neuron"]
        n = int(re.search(r"d: (\d+) more lines", lines[-2])[1])
        lines = (await press(pilot, "d")).splitlines()
        assert lines[3 + n].split()[:2] == ["#", "neuron"] and "more lines" not in lines[-2]
        assert (await press(pilot, "d")).splitlines()[3].split()[:2] == ["#", "neuron"]


@async_test
async def test_a_click_moves_the_cursor_and_a_second_one_opens():
    async with browsing(Options(run_dir=DEMO, screen="influence", list_name=FIRST), (120, 30)) as pilot:
        head = pilot.app.screen.block("head").size.height
        await pilot.click(offset=(20, head + 2))
        await settle(pilot)
        assert pilot.app.screen.rows.cursor == 2 and "row 3 of" in text_of(pilot)
        await pilot.click(offset=(20, head + 2))
        await settle(pilot)
        assert isinstance(pilot.app.screen, BrowserPage) and "is 3 of" in text_of(pilot)
        await pilot.click("#rows", offset=(10, 2))
        await settle(pilot)
        assert pilot.app.screen.cursor.pos == 1
        await pilot.click("#rows", offset=(10, 2))
        await settle(pilot)
        assert isinstance(pilot.app.screen, StackPage)


@async_test
async def test_a_click_in_the_list_beside_the_tokens_opens_its_row():
    async with browsing(Options(run_dir=DEMO), (170, 40)) as pilot:
        await pilot.click("#list", offset=(10, 6))
        await settle(pilot)
        row = pilot.app.screen.walk.view.ranked.row(4)
        assert pilot.app.screen.cursor.at == row.at and pilot.app.screen.walk.index == 4


@async_test
async def test_the_wheel_moves_and_the_keys_of_the_footer_can_be_clicked():
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508, ctx_idx=0), (120, 30)) as pilot:
        await pilot._post_mouse_events([_wheel()], widget="#rows")
        await settle(pilot)
        assert pilot.app.screen.cursor.pos == 3
        keys = pilot.app.screen.block("keys")
        for word, there in (("details", "details of L3N508"),):
            line = text_of(pilot).splitlines()[keys.region.y]
            await pilot.click("#keys", offset=(line.index(word), 0))
            await settle(pilot)
            assert there in text_of(pilot)
        await press(pilot, "escape")
        line = text_of(pilot).splitlines()[keys.region.y]
        await pilot.click("#keys", offset=(line.index("→ layer"), 0))
        await settle(pilot)
        assert pilot.app.screen.cursor.layer == 4


def _wheel():
    from textual.events import MouseScrollDown

    return MouseScrollDown


@async_test
async def test_y_copies_the_neuron_or_the_row_escaped(tmp_path):
    tokens = ["<bos>", "\x1b]0;EVIL\x07", "b"]
    run = {"p": tokens}
    make_run(tmp_path / "run", run, random_acts(run, n_layers=1, d_mlp=2))
    async with browsing(Options(run_dir=tmp_path / "run", screen="search", query="EVIL")) as pilot:
        assert "copied: 0  p  1  \\x1b]0;EVIL\\x07" in await press(pilot, "y")
        assert pilot.app.clipboard.isprintable() and "\\x1b]0;EVIL" in pilot.app.clipboard
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508)) as pilot:
        shown = await press(pilot, "y")
        assert "copied: L3N508  promotes ·Galveston" in shown
        assert pilot.app.clipboard.endswith("(with a positive activation)")
        await press(pilot, "f", "y")
        assert isinstance(pilot.app.screen, FactsPage) and "demo_run" in pilot.app.clipboard
        payload = base64.b64encode(pilot.app.clipboard.encode())
        assert payload.isascii()


@async_test
async def test_e_exports_text_and_json_and_never_replaces_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508)) as pilot:
        shown = " ".join((await press(pilot, "e")).split())
        assert "exported to" in shown and "demo_run_browser_L3N508_seed_prompt.txt and .json" in shown.replace(" ", " ")
        await press(pilot, "e")
        names = sorted(p.name for p in tmp_path.iterdir())
        stem = "demo_run_browser_L3N508_seed_prompt"
        assert names == sorted(f"{stem}{n}.{kind}" for n in ("", "-2") for kind in ("txt", "json"))
        text = (tmp_path / f"{stem}.txt").read_text()
        assert "Dallas [is]⁺⁺⁺" in text and "\x1b" not in text
        record = json.loads((tmp_path / f"{stem}.json").read_text())
        assert record["neuron"] == 508 and len(record["rows"]) == 9
        for keys in (("enter",), ("escape", "d"), ("escape", "w"), ("enter",)):
            assert "exported to" in " ".join((await press(pilot, *keys, "e")).split()), keys
        assert isinstance(pilot.app.screen, ListPage)
        listed = json.loads(next(tmp_path.glob("*_list.json")).read_text())
        assert len(listed["rows"]) == 1000 and listed["rows"][0]["rank"] == 1


@async_test
async def test_an_export_into_the_run_or_a_folder_without_rights_is_refused(tmp_path, monkeypatch):
    shutil.copytree(DEMO, tmp_path / "run")
    before = sorted(p for p in (tmp_path / "run").rglob("*"))
    monkeypatch.chdir(tmp_path / "run" / "analysis")
    async with browsing(Options(run_dir=tmp_path / "run"), (200, 30)) as pilot:
        assert "the current folder is inside the run" in await press(pilot, "e")
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        assert "not exported: " in await press(pilot, "e")
    assert sorted(p for p in (tmp_path / "run").rglob("*")) == before


def with_json(run_dir, change):
    """A copy of the demo run in which the JSON of the list that it opens on is changed by this function."""
    shutil.copytree(DEMO, run_dir)
    path = run_dir / "analysis" / f"{landing_list(run_dir, OpenedRun.open(run_dir).refs()).stem}.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    return run_dir


def test_a_run_opens_on_the_same_token_before_its_list_is_read():
    opened, options = OpenedRun.open(DEMO), Options(run_dir=DEMO)
    assert first_selected(opened, options) == landing(opened, options)[0]
    assert open_run(DEMO, options, None).listed and open_run(DEMO, options, None).walk is None
    assert open_run(DEMO, Options(run_dir=DEMO, screen="lists"), None).walk is not None
    code = f"""if True:
        import sys
        from pathlib import Path
        from neuron_signatures.tui.options import Options
        from neuron_signatures.tui.run.opening import open_run
        import neuron_signatures.tui.screens.navigation
        run_dir = Path({str(DEMO)!r})
        assert open_run(run_dir, Options(run_dir=run_dir), None).listed
        assert not {{"pyarrow", "pandas", "torch"}} & sys.modules.keys()"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"neurons": [{"layer": 3, "neuron": 5, "ctx_idx": 8}]},  # fewer than the record says
        {"neurons": [{"layer": 3, "neuron": "5", "ctx_idx": 8}]},
        {"neurons": None},
        {"metric": "ig"},
        {"total": 1.5},
    ],
)
def test_json_that_is_damaged_or_contradicts_its_record_is_not_used(tmp_path, changes):
    run_dir = with_json(tmp_path / "run", lambda summary: {**summary, **changes})
    found = open_run(run_dir, Options(run_dir=run_dir), None)
    expected = landing(OpenedRun.open(DEMO), Options(run_dir=DEMO))[0]
    assert not found.listed and found.walk is not None and found.cursor == expected


@async_test
async def test_the_table_wins_over_json_that_contradicts_it(tmp_path):
    other = {"layer": 3, "neuron": 5, "ctx_idx": 7}
    run_dir = with_json(tmp_path / "run", lambda summary: {**summary, "neurons": [other] * len(summary["neurons"])})
    assert open_run(run_dir, Options(run_dir=run_dir), None).cursor == Cursor(0, 3, 5, 7)
    async with browsing(Options(run_dir=run_dir)) as pilot:
        page = pilot.app.screen
        assert page.cursor == landing(page.opened, Options())[0] and page.walk.index == 0


@async_test
async def test_keys_and_a_reload_before_the_list_was_read(monkeypatch):
    go_on = Event()

    def late(opened, options):
        go_on.wait(20)
        return landing(opened, options)

    monkeypatch.setattr(browser_state, "landing", late)
    app = BrowseApp(Options(run_dir=DEMO), rest_seconds=0.002)
    async with app.run_test(size=(170, 40)) as pilot:
        await until_shown(pilot, "reading the list ...")
        first = app.screen.cursor
        await pilot.press("full_stop")
        assert app.screen.cursor == first and app.screen.walk is None
        await pilot.press("n", "r")
        await pilot.pause(0.5)
        await until_shown(pilot, "reading the list ...")
        go_on.set()
        await settle(pilot)
        assert app.screen.cursor == first._replace(neuron=first.neuron + 1)
        assert "off the list; . continues from 1 of" in text_of(pilot)
        await press(pilot, "full_stop")
        assert app.screen.walk.index == 1 and app.screen.cursor.at == app.screen.walk.row().at
