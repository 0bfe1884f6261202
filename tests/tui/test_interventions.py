"""Interventions in the terminal: the list, one result, links to neurons, damaged results, and `--print`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from explorer import HOSTILE
from intervention_results import (
    EFFECT,
    STEER,
    SWAP,
    SWAPS,
    swap_record,
    swaps_record,
    write_all,
    write_hostile,
    write_result,
)
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.interventions import InterventionsPage, ResultPage
from neuron_signatures.views.interventions.results import read_intervention

SIZES = [(80, 24), (160, 48)]


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """The demo run with four interventions."""
    shutil.copytree(DEMO, tmp_path / "run")
    return write_all(tmp_path / "run")


def at(run_dir: Path, stem: str | None = None) -> Options:
    return Options(run_dir=run_dir, screen="interventions", list_name=stem)


@pytest.mark.parametrize("size", SIZES)
@async_test
async def test_the_key_opens_the_list_and_enter_a_result(edited, size):
    async with browsing(Options(run_dir=edited), size) as pilot:
        shown = await press(pilot, "x")
        titles = [x.split(":")[0].strip("> ") for x in shown.splitlines() if " → " in x or "pairs" in x]
        assert titles == ["steer", "effect", "swap", "swap"]
        shown = await press(pilot, "end", "enter")
        assert isinstance(pilot.app.screen, ResultPage)
        lines = shown.splitlines()
        assert "swap: ·Austin → ·Sacramento" in lines[0] and lines[2].startswith("> Flips with 8 cells")
        assert all(len(x) <= size[0] for x in lines)
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, InterventionsPage)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("stem", "says"),
    [
        (SWAP, ["flips", "Cells", "Controls", "Wrong source", "Neutral prompts", "█"]),
        (SWAPS, ["held out", "Neurons of the shared list", "All pairs", "75.0 %"]),
        (EFFECT, ["Clean and edited", "Single neurons", "L1N3-", "Left out: wrong source", "█"]),
        (STEER, ["not monotone", "Doses", "alpha 0 unsteered", "Austin Austin Austin", "breaks"]),
    ],
)
@async_test
async def test_a_result_has_all_its_parts(edited, stem, says, size):
    async with browsing(at(edited, stem), size) as pilot:
        seen = [text_of(pilot)]
        for _ in range(8):
            seen.append(await press(pilot, "pagedown"))
        text = "\n".join(seen)
        assert all(words in text for words in says), text


@async_test
async def test_enter_opens_the_neuron_of_a_cell_on_the_edited_prompt(edited):
    async with browsing(at(edited, SWAP)) as pilot:
        shown = await press(pilot, "]", "]", "]")
        assert next(x for x in shown.splitlines() if x.startswith("> ")).startswith("> Cells")
        await press(pilot, "down", "down", "enter")
        cell = read_intervention(edited, SWAP).pairs[0].cells[0]
        page = pilot.app.screen
        assert isinstance(page, BrowserPage)
        assert (page.cursor.prompt, *page.cursor.at, page.cursor.pos) == (0, cell.layer, cell.neuron, cell.pos)


@async_test
async def test_enter_opens_a_pair_and_brackets_move_by_table(edited):
    async with browsing(at(edited, SWAPS)) as pilot:
        assert "> All pairs" in await press(pilot, "]")
        assert "> Pairs flipped by the first k cells" in await press(pilot, "]")
        assert "> All pairs" in await press(pilot, "[")
        await press(pilot, *["down"] * 4, "enter")
        assert "pair 3" in text_of(pilot) and "Does not flip with all 16 cells tried" in text_of(pilot)
        await press(pilot, "escape", "home")
        assert "no neuron" in await press(pilot, "enter")


@async_test
async def test_a_run_without_interventions_names_the_command():
    async with browsing(at(DEMO)) as pilot:
        shown = " ".join(text_of(pilot).split())
        assert "no interventions yet" in shown and "--mode swap --prompt_id seed_prompt --source_text" in shown


@async_test
async def test_damaged_unfinished_and_foreign_results_are_one_line_each(edited):
    folder = edited / "interventions"
    (folder / f"{STEER}.json").write_text("{}")
    (folder / f"{EFFECT}_meta.json").unlink()
    with Run.open(edited) as run:
        record = swap_record(run)
        foreign = record.run.model_copy(update={"created_at_utc": "2020-01-01T00:00:00"})
        write_result(run, SWAP, record.model_copy(update={"run": foreign}))
    async with browsing(at(edited), (120, 24)) as pilot:
        shown = text_of(pilot)
        assert f"broken: {STEER}" in shown and f"broken: {EFFECT}: not finished" in shown
        assert "from another dump? swap:" in shown
        assert "not finished" in await press(pilot, "end", "enter") and isinstance(pilot.app.screen, InterventionsPage)
        await press(pilot, "home", "down", "enter")
        assert isinstance(pilot.app.screen, ResultPage)


@async_test
async def test_the_list_follows_the_disk_and_a_reload_keeps_the_result(edited):
    shutil.rmtree(edited / "interventions")
    async with browsing(at(edited), poll_seconds=0.05) as pilot:
        assert "no interventions yet" in text_of(pilot)
        write_all(edited)
        for _ in range(200):
            await pilot.pause(0.02)
            if "swap: 4 pairs" in text_of(pilot):
                break
        await settle(pilot)
        assert "swap: 4 pairs" in text_of(pilot)
        await press(pilot, "down", "down", "enter", "down", "r")
        assert isinstance(pilot.app.screen, ResultPage) and "swap: 4 pairs" in text_of(pilot)


@async_test
async def test_a_damaged_table_is_a_line_of_the_page(edited):
    (edited / "interventions" / f"{EFFECT}.parquet").write_bytes(b"PAR1")
    async with browsing(at(edited, EFFECT), (120, 60)) as pilot:
        assert "its footer is not that of one of our tables" in " ".join(text_of(pilot).split())


@pytest.mark.parametrize("size", [(30, 8), (40, 12), (300, 70)])
@async_test
async def test_other_sizes(edited, size):
    for stem in (SWAP, SWAPS, EFFECT, STEER):
        async with browsing(at(edited, stem), size) as pilot:
            await press(pilot, "]", "end", "[")
            assert all(len(x) <= size[0] for x in text_of(pilot).splitlines())


@async_test
async def test_a_swap_without_pairs(edited):
    with Run.open(edited) as run:
        many = swaps_record(run)
        write_result(run, SWAPS, many.model_copy(update={"pairs": [], "summary": None}))
    async with browsing(at(edited, SWAPS)) as pilot:
        shown = await press(pilot, "]", "]", "]")
        assert "> Neurons of the shared list" in shown
        await press(pilot, "down", "down", "enter")
        assert isinstance(pilot.app.screen, BrowserPage)


@async_test
async def test_hostile_text_is_escaped(edited):
    evil = "\x1b]0;EVIL\x07\u202e" + "".join(HOSTILE)
    write_hostile(edited, evil[:1000], HOSTILE)
    for stem in ("swap_evil", "effect_evil", "steer_evil"):
        async with browsing(at(edited, stem), (100, 60)) as pilot:
            text = text_of(pilot) + await press(pilot, "end")
            assert "\x1b" not in text and "\u202e" not in text and "EVIL" in text


def test_print_as_text_and_json(edited, capsys):
    flags = ["--run_dir", str(edited), "--screen", "interventions", "--print"]
    assert main(flags) == 0
    assert "swap: 4 pairs, 3 flipped" in capsys.readouterr().out
    assert main([*flags, "--list", SWAP]) == 0
    out = capsys.readouterr().out
    assert "Flips with 8 cells" in out and "Neutral prompts" in out and all(len(x) <= 100 for x in out.splitlines())
    assert main([*flags, "json", "--list", STEER]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [d["alpha"] for d in data["doses"]] == [-8.0, -4.0, 0.0, 4.0, 8.0, 16.0] and data["list"] == STEER
    assert main([*flags, "--list", "swap_gone"]) == 2
    assert "no intervention 'swap_gone'" in capsys.readouterr().err
    (edited / "interventions" / f"{SWAP}.json").write_text("[]")
    assert main([*flags, "--list", SWAP]) == 3
