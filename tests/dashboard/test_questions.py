"""The first questions about a prediction, each answered in at most five clicks or inputs from the start page.

A typed text with Enter is one input. The answers are those of the views that the terminal shares (`views`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, address, served, settle, visit
from explorer import demo_root
from playwright import sync_api

from neuron_signatures.analysis.contrast.analyze import ContrastConfig, analyze_contrast
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.lists.list_files import list_refs, read_list
from neuron_signatures.views.lists.ranked import RankedList
from neuron_signatures.views.lists.validated import landing_list
from neuron_signatures.views.neurons.descriptions import read_descriptions

pytestmark = pytest.mark.browser
MOST = 5


class Hands:
    """A page on which every click and every typed text counts."""

    def __init__(self, page: sync_api.Page) -> None:
        self.page, self.n = page, 0

    def open_view(self, name: str) -> None:
        nav = self.page.locator(".st-key-view")
        nav.get_by_role("radio", name=name).or_(nav.get_by_role("button", name=name)).first.click()
        self._done()

    def open_row(self, key: str, row: int) -> None:
        """A click on a cell of the table with this key, which opens the row's neuron."""
        grid = self.page.locator(f".st-key-{key} [data-testid='stDataFrame']")
        grid.scroll_into_view_if_needed()
        self.page.wait_for_timeout(500)
        grid.click(position={"x": 120, "y": 35 * (row + 1) + 17})
        self.page.wait_for_url(lambda url: "view=neuron" in url)
        self._done()

    def type(self, label: str, text: str) -> None:
        box = self.page.get_by_label(label, exact=True)
        box.fill(text)
        box.press("Enter")
        self.page.wait_for_timeout(300)
        self._done()

    def _done(self) -> None:
        self.n += 1
        settle(self.page)

    def rows(self, key: str, until: str) -> list[str]:
        """The first rows of a table as text, without columns out of sight, once the first row has `until`."""
        first = self.page.locator(f".st-key-{key} canvas tbody tr").first
        sync_api.expect(first).to_contain_text(until, timeout=20_000)
        return self.page.locator(f".st-key-{key} canvas tbody tr").all_inner_texts()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    (folder / "runs").mkdir()
    return demo_root(folder / "runs")


@pytest.fixture(scope="module")
def landing(runs: Path) -> RankedList:
    """The list that both viewers open on."""
    ref = landing_list(runs / "demo", list_refs(runs / "demo", Run.open(runs / "demo").manifest))
    assert ref is not None
    return read_list(runs / "demo", ref, read_descriptions(runs / "demo"))


@pytest.fixture(scope="module")
def start(runs: Path) -> Iterator[tuple[str, sync_api.Browser]]:
    """The address of the explorer, and a browser."""
    with served(runs.parent) as url, sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield url, browser
        browser.close()


@pytest.fixture
def hands(start: tuple[str, sync_api.Browser]) -> Iterator[Hands]:
    """The start page, in a new session."""
    url, browser = start
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    visit(page, url)
    yield Hands(page)
    page.close()


def key_of(ranked: RankedList) -> str:
    return f"rank_{ranked.ref.stem}"


def stored_rows(ranked: RankedList, runs: Path, query: str = "") -> list[NeuronAt]:
    """The neurons of the list that the run stores, in its order, that match the query."""
    run = Run.open(runs / "demo")
    rows = map(ranked.row, np.flatnonzero(ranked.matching(query)).tolist())
    return [row.at for row in rows if run.stores(*row.at)]


def test_which_neurons_make_the_model_say_austin(hands, landing, runs):
    assert "·Austin" in landing.ref.title and address(hands.page)["view"] == "ranking"
    assert hands.page.get_by_text(landing.ref.title).first.is_visible()
    stored = stored_rows(landing, runs)
    rows = hands.rows(key_of(landing), stored[0].label)
    assert len(rows) >= 5
    for text, at in zip(rows[:5], stored, strict=False):
        assert at.label in text
    assert hands.n == 0


def test_what_does_each_respond_to(hands, landing, runs):
    hands.open_row(key_of(landing), 1)
    at = (address(hands.page)["layer"], address(hands.page)["neuron"])
    second = stored_rows(landing, runs)[1]
    assert at == (str(second.layer), str(second.neuron))
    hands.page.get_by_text(second.label, exact=True).wait_for()
    fires = hands.page.locator(".ns-sum").inner_text()
    assert "fires at" in fires and "peaks most often on" in fires
    heat = hands.page.locator(".ns-heat").first
    full = heat.locator(".t[style*='1.000)']").first
    assert full.is_visible() and "act " in (full.get_attribute("title") or "")
    assert heat.locator(".p").count() == 5
    assert hands.n == 1 <= MOST


def test_which_are_about_texas(hands, landing, runs):
    hands.type("Find", "Texas")
    wanted = stored_rows(landing, runs, "Texas")
    rows = hands.rows(key_of(landing), wanted[0].label)
    for text, at in zip(rows[:5], wanted, strict=False):
        assert at.label in text
    described = read_descriptions(runs / "demo")
    said = (described.of(at, negative=negative) for at in wanted for negative in (False, True))
    assert any("Texas" in d.fires or " Texas" in d.promotes + d.suppresses for d in said)
    assert len(wanted) < len(landing) / 4 and hands.n == 1 <= MOST


def test_is_there_a_neuron_that_says_a_capital(hands, runs):
    side = "concepts=capital@token: is"
    hands.open_view("Contrast")
    hands.type("A", side)
    frame = analyze_contrast(Run.open(runs / "demo"), ContrastConfig(side, rank_by="difference")).frame
    best = frame.loc[frame["score"].abs().sort_values(ascending=False).index[:3]]
    names = [f"L{r.layer}N{r.neuron}{r.pole}" for r in best.itertuples()]
    rows = hands.rows("contrast", names[0])
    assert "L1N440-" in names and all(name in text for name, text in zip(names, rows, strict=False))
    hands.open_row("contrast", names.index("L1N440-"))
    assert (address(hands.page)["layer"], address(hands.page)["neuron"]) == ("1", "440")
    assert hands.n == 3 <= MOST
