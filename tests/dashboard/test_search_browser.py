"""The view Search in a real browser: hostile texts and tokens, a click to the neuron, and who else writes a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from browser import address, is_harmless, served, settle, visit
from explanation_runs import Log, write_log
from explorer import HOSTILE, hostile_run
from search_runs import write_writes

pytestmark = pytest.mark.browser
EVIL = "".join(HOSTILE[1:])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server of the run `demo`, whose explanations and written tokens are hostile."""
    run_dir = tmp_path / "runs" / "demo"
    run_dir.parent.mkdir()
    hostile_run(run_dir)
    log = Log("evil")
    log.explain("L0N0+", f"needle {EVIL}")
    log.explain("L1N2+", f"needle needle {EVIL}", sample=1)
    write_log(run_dir, log)
    write_writes(run_dir, {(1, n): ([(text, 1.0)], [(f" {text}", -1.0)]) for n, text in enumerate(HOSTILE[1:6])})
    with served(tmp_path) as url:
        yield url


def test_hostile_hits_are_text_and_clicks_lead_on(server: str, page):
    visit(page, f"{server}?view=search&q={quote(HOSTILE[1])}&by=promotes")
    is_harmless(page)
    visit(page, f"{server}?view=search&q=needle")
    is_harmless(page)
    grid = page.locator(".st-key-search_hits [data-testid='stDataFrame']")
    grid.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    grid.click(position={"x": 300, "y": 35 + 17})
    page.wait_for_url(lambda url: "view=neuron" in url)
    settle(page)
    assert (address(page)["layer"], address(page)["neuron"]) in (("0", "0"), ("1", "2")) and "q" not in address(page)
    visit(page, f"{server}?view=neuron&layer=1&neuron=2")
    grid = page.locator(".st-key-neuron_writes [data-testid='stDataFrame']")
    grid.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    grid.click(position={"x": 60, "y": 35 + 17})
    page.wait_for_url(lambda url: "view=search" in url)
    settle(page)
    assert address(page)["by"] == "promotes" and address(page)["q"] == f'"{HOSTILE[3]}"'
    is_harmless(page)
