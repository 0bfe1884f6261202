"""The animation in a real browser: the slider, the button, and no request, script or error of hostile labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM
from drift_tables import EVIL, compared
from playwright import sync_api
from playwright.sync_api import expect

from neuron_signatures.drift.animation import animation

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_slider_and_the_button(chromium, tmp_path: Path, width: int, motion: str):
    path = tmp_path / "drift.html"
    path.write_text(animation(compared([EVIL, "middle", "end"], n_neurons=300), title=EVIL, seed=0) or "")
    context = chromium.new_context(viewport={"width": width, "height": 900}, reduced_motion=motion)
    page = context.new_page()
    troubles, asked = [], []
    page.on("console", lambda m: troubles.append(m.text))
    page.on("pageerror", lambda e: troubles.append(str(e)))
    page.on("dialog", lambda d: (troubles.append(d.message), d.dismiss()))
    page.on("request", lambda r: asked.append(r.url))
    page.goto(path.as_uri())
    assert page.title().startswith("Drift of neurons") and page.locator("img").count() == 0
    assert page.locator("#now").inner_text().startswith("1 of 3: </script>")
    before = page.locator("#dots").screenshot()
    page.locator("#slider").fill("1")
    expect(page.locator("#now")).to_contain_text("2 of 3: middle")
    page.wait_for_timeout(900)
    assert page.locator("#dots").screenshot() != before
    page.locator("#find").fill("L1N2")
    expect(page.locator("#neuron")).to_contain_text("L1N2 in middle")
    page.locator("#play").click()
    expect(page.locator("#now")).to_contain_text("3 of 3: end (reference)")
    page.select_option("#x", "rate")
    page.select_option("#layer", "1")
    expect(page.locator("#play")).to_have_text("Play")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert asked == [path.as_uri()] and not troubles
    context.close()
