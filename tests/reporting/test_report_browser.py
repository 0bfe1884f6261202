"""The report in a real browser, wide and narrow, light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM
from explorer import HOSTILE, hostile_run
from intervention_results import write_all, write_hostile
from paths import DEMO_RUN
from playwright import sync_api
from report_pages import make_report
from score_runs import make_scored_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, Path]:
    """The files of three reports: of the demo run, of a scored run, and of a hostile one."""
    folder = tmp_path_factory.mktemp("reports")
    runs = {name: folder / name for name in ("demo", "scored", "hostile")}
    write_all(Path(shutil.copytree(DEMO_RUN, runs["demo"])))
    make_scored_run(runs["scored"])
    hostile_run(runs["hostile"])
    write_hostile(runs["hostile"], "".join(HOSTILE), HOSTILE)
    for run in runs.values():
        make_report(run)
    return {name: run / "report.html" for name, run in runs.items()}


@pytest.fixture(scope="module")
def chromium() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["demo", "scored", "hostile"])
def test_no_scroll_no_errors_no_requests(name, width, scheme, reports, chromium):
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    troubles, asked = [], []
    page.on("console", lambda m: troubles.append(m.text))
    page.on("pageerror", lambda e: troubles.append(str(e)))
    page.on("dialog", lambda d: (troubles.append(d.message), d.dismiss()))
    page.on("request", lambda r: asked.append(r.url))
    page.goto(reports[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.title").startswith(("Which neurons", "The neurons"))
    assert asked == [reports[name].as_uri()] and not troubles
    context.close()


def test_scores_are_in_view_on_a_narrow_screen(reports, chromium):
    page = chromium.new_page(viewport={"width": 390, "height": 900})
    page.goto(reports["scored"].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    right = page.evaluate("[...document.querySelectorAll('.stack td')].map(e => e.getBoundingClientRect().right)")
    assert right and max(right) <= 390
    page.close()


def test_a_link_to_a_folded_card_opens_it(reports, chromium):
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(reports["demo"].as_uri())
    card = page.locator("article.card[id]").last
    assert not card.is_visible()
    page.locator(f"td a[href='#{card.get_attribute('id')}']").click()
    card.wait_for(state="visible")
    page.close()


def test_paper_is_white_and_shows_what_is_folded(reports, chromium):
    page = chromium.new_page(viewport={"width": 680, "height": 900}, color_scheme="dark")
    page.goto(reports["demo"].as_uri())
    inside = "document.querySelector('details:not(.screen) > :not(summary)').checkVisibility()"
    assert not page.evaluate(inside)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(inside)
    assert page.evaluate("getComputedStyle(document.querySelector('details.screen')).display") == "none"
    page.close()
