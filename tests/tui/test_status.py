"""The status line: its content, and what is shown first if not all fits."""

from __future__ import annotations

import shutil
import threading

import pytest
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of, until_shown

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.tokens import width
from neuron_signatures.tui.layout.footer import bottom
from neuron_signatures.tui.layout.text import Span, line_text
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.screens.lists import ListPage, ListsPage

NAMES = "activations-00001-of-00002.safetensors, activations-00002-of-00002.safetensors and 3 more"
KEYS = [("q", "quit")]
IDLE = (Span("L4N154 is 1 of 2560, score -0.2508"),)


def status(message: str, stale: str, columns: int) -> str:
    (said,) = bottom(message, stale, IDLE, KEYS, columns, 24, lines=2).status
    assert width(line_text(said)) <= columns
    return line_text(said)


@pytest.mark.parametrize("columns", [200, 80, 60])
def test_the_names_of_changed_files_are_cut_to_fit(columns):
    said = status("", NAMES, columns)
    assert said.startswith("press r: changed on disk") and line_text(IDLE) in said
    assert (NAMES in said) == (columns == 200) and ("activations-0" in said) == (columns > 60)
    assert columns != 80 or "…  L4N154" in said


def test_a_message_hides_changed_files():
    assert status("layer 4 is the last stored layer", NAMES, 80) == "layer 4 is the last stored layer"


@async_test
async def test_messages_the_walk_and_the_row_show_beside_changed_files(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    async with browsing(Options(run_dir=tmp_path / "run", screen="peaks"), poll_seconds=0.05) as pilot:
        (tmp_path / "run" / "manifest.json").touch()
        (tmp_path / "run" / "activations.safetensors").touch()
        shown = await until_shown(pilot, "press r: changed on disk: activations.safe")
        assert "row 1 of 1536" in shown
        assert "is 1 of 1536" in await press(pilot, "enter")
        assert "is the last of the prompt" in " ".join((await press(pilot, "end", "down")).split())
        assert "changed on disk" in await press(pilot, "up")


@async_test
async def test_messages_to_a_screen_without_widgets_are_ignored():
    async with browsing(Options(run_dir=DEMO), (80, 24)) as pilot:
        app = pilot.app
        browser = app.screen
        page = ListsPage(browser)
        app.push_screen(page)  # its widgets are created later
        assert app.screen is page and not page.is_drawable
        app.show_changes(browser.opened, ["analysis/signatures.parquet"])
        await settle(pilot)
        assert page.is_drawable and "changed on disk" not in text_of(pilot)
        await press(pilot, "enter")
        page = app.screen
        assert isinstance(page, ListPage)
        closed = threading.Event()

        def work(stop, send):
            closed.wait(20)
            send("late")
            raise BadRunError("late")

        page.start("list", work)
        await pilot.press("escape")
        await settle(pilot)
        assert not page.is_drawable
        closed.set()
        await settle(pilot)
    assert not app.call_later(app.show_changes, browser.opened, ["manifest.json"])  # the browser has ended
