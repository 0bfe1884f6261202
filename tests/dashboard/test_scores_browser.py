"""Scores in a real browser: hostile text, a click on a point and on a row, and a window that opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import address, is_harmless, served, settle, visit
from hostile_scores import hostile_scores

pytestmark = pytest.mark.browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server of the run `demo`, whose tokens, explanations and scores are hostile."""
    hostile_scores(tmp_path / "runs" / "demo")
    with served(tmp_path) as url:
        yield url


def test_a_click_on_a_set_a_point_and_a_text(server: str, page):
    visit(page, f"{server}?view=scores&layer=0&neuron=1")
    is_harmless(page)
    grid = page.locator(".st-key-score_sets [data-testid='stDataFrame']")
    grid.click(position={"x": 200, "y": 35 * 2 + 17})
    page.wait_for_url(lambda url: "scored=evil__json" in url)
    settle(page)
    visit(page, f"{server}?view=scores&layer=0&neuron=1&scored=evil__embedding")

    chart = page.locator(".st-key-scores_layers .js-plotly-plot")
    chart.scroll_into_view_if_needed()
    page.wait_for_timeout(1500)  # for plotly
    x, y = chart.evaluate(
        "d => { const l = d._fullLayout, b = d.getBoundingClientRect(), t = d.data[0], i = 0;"
        "return [b.x + l.xaxis._offset + l.xaxis.d2p(t.x[i]), b.y + l.yaxis._offset + l.yaxis.d2p(t.y[i])] }"
    )
    page.mouse.move(x, y)
    page.wait_for_timeout(500)
    page.mouse.click(x, y)
    page.wait_for_url(lambda url: "view=neuron" in url)
    settle(page)
    assert (address(page)["layer"], address(page)["neuron"]) == ("0", "0")

    window = page.locator(".ns-sim details").first
    window.wait_for()
    assert window.locator(".c").count() > 5
    window.locator("summary").click()
    assert window.evaluate("d => d.open")
    is_harmless(page)
