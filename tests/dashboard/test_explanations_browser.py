"""Explanations in a real browser: hostile text, a click in the list, and an edit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import address, is_harmless, served, settle, visit
from explanation_runs import Log, write_log
from explorer import HOSTILE, hostile_run

from neuron_signatures.runs.explanations.reader import Explanations

pytestmark = pytest.mark.browser
EVIL = "".join(HOSTILE[1:])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server of the run `demo`, whose tokens and explanations are hostile."""
    run_dir = tmp_path / "runs" / "demo"
    run_dir.parent.mkdir()
    hostile_run(run_dir)
    log = Log("evil", model=EVIL[:180], answered_by=EVIL[:180])
    log.explain("L0N0+", f"{EVIL} \x00\x1b[31m\u202e $x$ ![x](http://evil.invalid/p.png)\n" + EVIL * 40)
    id_ = log.explain("L1N2+", EVIL, sample=1)
    log.note("L1N2+", id_, EVIL, by=EVIL[:180])
    log.explain("L1N3-", "", status="refused", reason=EVIL[:480])
    write_log(run_dir, log, finished=False)
    with served(tmp_path) as url:
        yield url


def test_hostile_explanations_are_text_and_a_click_and_an_edit_work(server: str, page, tmp_path: Path):
    visit(page, f"{server}?view=explanations&layer=0&neuron=1")
    is_harmless(page)
    grid = page.locator(".st-key-explanations_table [data-testid='stDataFrame']")
    grid.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    grid.click(position={"x": 200, "y": 35 * 2 + 17})
    page.wait_for_url(lambda url: "view=neuron" in url)
    settle(page)
    assert (address(page)["layer"], address(page)["neuron"]) == ("1", "2")
    page.locator(".ns-exp", has_text="<img src=x").first.wait_for()
    is_harmless(page)

    name = page.get_by_role("textbox", name="Your name")
    name.fill("reviewer 1")
    name.press("Enter")
    edit = page.locator("[class*='st-key-controls_exp_']").first.get_by_role("button", name="Edit")
    edit.and_(page.locator(":enabled")).wait_for()
    settle(page)
    edit.click()
    page.get_by_role("textbox", name="New text").fill("the same, edited <b>EVIL</b>")
    page.get_by_role("textbox", name="New text").press("Control+Enter")
    settle(page)
    page.get_by_role("button", name="Save edit").click()
    page.get_by_text("edited by reviewer 1").first.wait_for()
    assert page.locator(".ns-exp", has_text="the same, edited <b>EVIL</b>").count() >= 1
    is_harmless(page)
    assert Explanations.open(tmp_path / "runs" / "demo").of(1, 2)[0].text == "the same, edited <b>EVIL</b>"
