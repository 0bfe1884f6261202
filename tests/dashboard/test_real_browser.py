"""The explorer in a real browser: views, deep links, clicks, downloads and hostile text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import neuron_tables
import numpy as np
import pytest
from browser import CHROMIUM, address, served, settle, visit
from explorer import HOSTILE, demo_root, hostile_run
from intervention_results import SWAP, write_all, write_hostile
from PIL import Image
from playwright import sync_api

pytestmark = pytest.mark.browser
VIEWS = ("overview", "neuron", "ranking", "signatures", "map", "query", "interventions")
AT_LARGE = ("weights", "clusters", "drift", "query&on=corpus")
LINK = "?run=demo&prompt=probe_2_Texas&layer=4&neuron=178&view=neuron"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """A real server, started from another folder, with the demo run and a hostile run."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "runs").mkdir()
    hostile_run(demo_root(folder / "runs") / "hostile")
    write_all(folder / "runs" / "demo")
    write_hostile(folder / "runs" / "hostile", "".join(HOSTILE), HOSTILE)
    neuron_tables.everything(folder / "runs" / "hostile")
    with served(folder) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium.new_context(viewport={"width": 1280, "height": 1400}, accept_downloads=True)
        chromium.close()


@pytest.fixture
def page(browser):
    """A page 1280 px wide that records requests and dialogs, and fails on any request to another host."""
    tab = browser.new_page()
    tab.asked, tab.troubles = [], []
    tab.on("request", lambda r: tab.asked.append(r.url))
    tab.on("websocket", lambda w: tab.asked.append(w.url))
    tab.on("dialog", lambda d: (tab.troubles.append(d.message), d.dismiss()))
    tab.on("pageerror", lambda e: tab.troubles.append(str(e)))
    yield tab
    hosts = {urlsplit(u).hostname for u in tab.asked if not u.startswith(("data:", "blob:", "about:", "file:"))}
    tab.close()
    assert hosts <= {"127.0.0.1"}, hosts
    assert not tab.troubles


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_of_the_demo_run_opens(server, page, view):
    visit(page, f"{server}?view={view}")
    assert address(page)["view"] == view and address(page)["run"] == "demo"
    assert page.locator('[data-testid="stException"], [data-testid="stAlertContentError"]').count() == 0
    page.wait_for_selector(".js-plotly-plot .plot-container, .ns-heat, [data-testid='stDataFrame']")
    assert page.title() == "neuron signatures"
    assert page.get_by_text("accessible from other machines").count() == 0  # config.toml was read


@pytest.mark.parametrize(("theme", "darkest", "lightest"), [("light", 0.8, 1.0), ("dark", 0.0, 0.25)])
def test_a_picture_of_each_view_follows_the_theme_and_fits(server, browser, tmp_path, theme, darkest, lightest):
    """The median brightness is that of the background, and the page has more than a few colours."""
    tab = browser.new_page()
    tab.emulate_media(color_scheme=theme)
    for view in VIEWS:
        visit(tab, f"{server}?view={view}")
        tab.wait_for_selector(".js-plotly-plot .plot-container, .ns-heat, [data-testid='stDataFrame']")
        tab.screenshot(path=tmp_path / f"{view}.png")
        with Image.open(tmp_path / f"{view}.png") as picture:
            grey = np.asarray(picture.convert("L"), float) / 255
        assert darkest <= np.median(grey) <= lightest, view
        assert len(np.unique(grey)) > 50, view
        assert tab.evaluate("document.documentElement.scrollWidth") <= 1280, view
    tab.close()


def test_a_deep_link_opens_what_it_names_and_next_goes_on(server, page):
    visit(page, server + LINK)
    page.get_by_text("L4N178", exact=True).wait_for()
    assert page.locator(".ns-heat .t").first.is_visible()
    assert {k: address(page)[k] for k in ("prompt", "layer", "neuron")} == {
        "prompt": "probe_2_Texas", "layer": "4", "neuron": "178",
    }  # fmt: skip
    visit(page, f"{server}?run=demo&view=neuron")
    before = address(page)
    page.get_by_role("button", name="Next", exact=True).click()
    page.wait_for_url(lambda url: "row=2" in url)
    settle(page)
    after = address(page)
    assert after["row"] == "2" and (after["layer"], after["neuron"]) != (before["layer"], before["neuron"])
    page.get_by_text(f"L{after['layer']}N{after['neuron']}", exact=True).wait_for()


def test_a_neuron_is_chosen_from_the_list(server, page):
    visit(page, f"{server}?run=demo&view=neuron")
    page.locator(".st-key-pick input").click()
    option = page.get_by_role("option").nth(3)
    wanted = re.search(r"L(\d+)N(\d+)", option.inner_text())
    option.click()
    page.wait_for_url(lambda url: f"neuron={wanted[2]}" in url)
    assert address(page)["layer"] == wanted[1]


@pytest.mark.parametrize("corner", [(0.5, 0.5), (0.06, 0.1), (0.94, 0.9)])
def test_a_click_anywhere_in_a_cell_of_the_layer_map_opens_its_neuron(server, page, corner):
    visit(page, f"{server}?run=demo&view=overview")
    plot = page.locator(".st-key-overview_layers .js-plotly-plot")
    plot.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    x, y, at = plot.evaluate(_PLACE_IN_CELL, corner)
    page.mouse.move(x - 1, y)
    page.mouse.move(x, y, steps=3)
    page.wait_for_timeout(300)
    label = page.locator(".st-key-overview_layers .hoverlayer").text_content()
    page.mouse.click(x, y)
    page.wait_for_url(lambda url: "view=neuron" in url)
    assert f"L{at[0]}N{at[1]}" in label
    assert [int(address(page)[k]) for k in ("layer", "neuron")] == at


# A place in the cell of the first layer at the last position, below plotly's buttons: as a share of its sides, in
# pixels of the window; and its neuron.
_PLACE_IN_CELL = """(plot, [right, down]) => {
  const l = plot._fullLayout, t = plot._fullData[1], box = plot.getBoundingClientRect();
  const last = Math.max(...t.x), i = t.customdata.findIndex((d, i) => t.base[i] === -0.5 && d[2] === last);
  const x = l.xaxis.d2p(last - 0.5 + right), y = l.yaxis.d2p(down - 0.5);
  return [box.left + l.xaxis._offset + x, box.top + l.yaxis._offset + y, Array.from(t.customdata[i]).slice(0, 2)];
}"""


@pytest.mark.parametrize("view", VIEWS)
def test_the_toolbar_of_a_table_saves_no_csv(server, page, view):
    """Streamlit's own download does not escape formulas."""
    visit(page, f"{server}?run=hostile&view={view}")
    if view == "neuron":
        page.get_by_text("Table", exact=True).click()
        settle(page)
    seen = 0
    for frame in page.locator('[data-testid="stDataFrame"]').all():
        if not frame.is_visible():
            continue
        frame.scroll_into_view_if_needed()
        frame.hover(position={"x": 40, "y": 10})
        frame.locator('button[aria-label^="Fullscreen"]').wait_for(state="visible")
        assert not frame.locator('button[aria-label^="Download as CSV"]').first.is_visible()
        seen += 1
    assert seen or view in ("ranking", "signatures")  # nothing has been ranked in this run


@pytest.mark.parametrize("chart", ["per layer", "bars"])
def test_a_click_in_the_ranking_opens_the_neuron_and_keeps_the_list(server, page, chart):
    visit(page, f"{server}?run=demo&view=ranking&list=influence_seed_prompt_dla_next_token_pos8_tok704")
    page.get_by_role("radio", name=chart).or_(page.get_by_role("button", name=chart, exact=True)).first.click()
    settle(page)
    plot = page.locator(f".st-key-rank_chart_{chart.replace(' ', '-')} .js-plotly-plot")
    plot.locator(".plot-container").wait_for()
    page.wait_for_timeout(800)
    x, y = plot.evaluate(_PLACE_OF_THIRD)
    page.mouse.move(x - 1, y)
    page.mouse.move(x, y, steps=3)
    page.wait_for_timeout(300)
    page.mouse.click(x, y)
    page.wait_for_url(lambda url: "view=neuron" in url)
    found = address(page)
    assert found["list"] == "influence_seed_prompt_dla_next_token_pos8_tok704" and found["row"] == "3"


@pytest.mark.parametrize(("column", "row"), [(120, 1), (420, 3), (14, 2)])
def test_a_click_on_any_cell_of_a_row_or_on_its_box_opens_the_neuron(server, page, column, row):
    """`column` in pixels: the neuron, a number, and the box that selects the row."""
    stem = "influence_seed_prompt_dla_next_token_pos8_tok704"
    visit(page, f"{server}?run=demo&view=ranking&list={stem}")
    grid = page.locator(f".st-key-rank_{stem} [data-testid='stDataFrame']")
    grid.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    grid.click(position={"x": column, "y": 35 * row + 17})
    page.wait_for_url(lambda url: "view=neuron" in url)
    assert (address(page)["list"], address(page)["row"]) == (stem, str(row))


@pytest.mark.parametrize("row", [1, 3])
def test_a_click_on_a_cell_of_a_swap_opens_its_neuron(server, page, row):
    visit(page, f"{server}?run=demo&view=interventions&result={SWAP}")
    grid = page.locator(".st-key-int_cells [data-testid='stDataFrame']")
    grid.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    grid.click(position={"x": 160, "y": 35 * row + 17})
    page.wait_for_url(lambda url: "view=neuron" in url)
    assert (address(page)["layer"], address(page)["neuron"]) == {1: ("4", "2"), 3: ("1", "24")}[row]


# Where plotly drew the third point of the first trace, in pixels of the window.
_PLACE_OF_THIRD = """plot => {
  const l = plot._fullLayout, t = plot._fullData[0], box = plot.getBoundingClientRect();
  const dx = t.orientation === "h" ? t.x[2] / 2 : t.x[2];
  return [box.left + l.xaxis._offset + l.xaxis.d2p(dx), box.top + l.yaxis._offset + l.yaxis.d2p(t.y[2])];
}"""


def test_the_heatmap_leaves_as_a_file_that_runs_nothing(server, page, tmp_path):
    visit(page, f"{server}?run=hostile&view=neuron")
    page.get_by_role("button", name="Export").first.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="This heatmap (HTML)").click()
    file = tmp_path / "heatmap.html"
    download.value.save_as(file)
    with page.expect_download() as download:
        page.get_by_role("button", name="Table (CSV)").first.click()
    assert ",'=cmd|" in Path(download.value.path()).read_text(encoding="utf-8")
    page.goto(file.as_uri())
    assert page.locator(".ns-heat .t").count() == 10
    assert page.locator("script, img, iframe, a, link").count() == 0
    assert "EVIL" not in page.title()
    assert page.locator(".ns-heat .t", has_text="<script>document").count() == 1


@pytest.mark.parametrize("view", (*VIEWS, *AT_LARGE))
def test_hostile_text_stays_text(server, page, view):
    visit(page, f"{server}?run=hostile&view={view}")
    page.wait_for_timeout(500)
    assert page.title() == "neuron signatures"
    main = page.locator('[data-testid="stAppViewContainer"]')
    assert main.locator("iframe, script, img, [onerror]").count() == 0
    assert main.locator(".katex, b:has-text('EVIL'), a[href*='evil']").count() == 0
    if view == "neuron":
        assert main.locator(".ns-heat .t", has_text="<img src=x").count() >= 1


def test_hostile_addresses_stay_inside(server, page):
    for query in ("?run=../../etc", "?run=![x](http://evil.invalid/x)"):
        visit(page, server + query)
        page.get_by_text("Parts of this page's address").wait_for()
        assert address(page)["run"] in ("demo", "hostile")
    assert page.locator('[data-testid="stAppViewContainer"] img').count() == 0


def test_another_name_of_the_host_gets_no_connection(server, browser):
    """DNS rebinding: a page of another host name cannot read the runs."""
    request = browser.request.get(
        f"{server}_stcore/stream",
        headers={"Host": f"evil.invalid:{urlsplit(server).port}", "Connection": "Upgrade", "Upgrade": "websocket",
                 "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"},
    )  # fmt: skip
    assert request.status in (400, 403)


def test_a_number_that_is_not_taken_does_not_stay_in_its_box(server, page):
    visit(page, f"{server}?run=demo&view=neuron&list=influence_seed_prompt_dla_next_token_pos8_tok704")
    before = address(page)
    box = page.locator(".st-key-neuron input")
    for typed in ("99999", "9" * 20):
        box.fill(typed)
        box.press("Enter")
        page.get_by_text("is not a whole number from 0 to 511").wait_for()
        page.wait_for_function("n => document.querySelector('.st-key-neuron input').value === n", arg=before["neuron"])
        settle(page)
        assert address(page) == before
    page.get_by_role("button", name="Next", exact=True).click()
    page.wait_for_url(lambda url: "row=" + before["row"] + "&" not in url + "&")
    settle(page)
    assert box.input_value() == address(page)["neuron"] != before["neuron"]
    assert page.get_by_text("is not a whole number").count() == 0


def test_an_emptied_box_and_a_row_of_the_same_neuron_keep_the_list(server, page):
    visit(page, f"{server}?run=demo&view=query&list=influence_seed_prompt_dla_next_token_pos8_tok704")
    before = address(page)
    box = page.locator(".st-key-neuron input")
    box.fill("")
    box.press("Enter")
    page.wait_for_function("n => document.querySelector('.st-key-neuron input').value === n", arg=before["neuron"])
    settle(page)
    assert address(page) == before and before["row"] == "1"
    table = page.locator(".st-key-query_grams canvas").first
    table.scroll_into_view_if_needed()
    place = table.bounding_box()
    page.mouse.click(place["x"] + 12, place["y"] + 35 + 17)  # the box that selects the first row, below the header
    page.wait_for_url(lambda url: "view=neuron" in url)
    settle(page)
    same = ("layer", "neuron", "list", "row")
    assert [address(page)[k] for k in same] == [before[k] for k in same]
