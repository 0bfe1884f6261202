"""Circuits in the report: picture, paths, tests, what is left out, and that hostile text stays text."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from circuit_results import write_common
from circuit_runs import AUSTIN, HOSTILE_CIRCUIT, austin_graph, write_circuits
from circuits_made import made_graph, write_circuit
from paths import DEMO_RUN
from report_pages import Page, make_report
from test_viewers_without_torch import run_blocked

from neuron_signatures.reporting.circuit_parts import MOST_NODES, hidden_words
from neuron_signatures.views.circuit.shown import Thresholds, show

TITLE = "How do the neurons make the answer?"


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return write_circuits(Path(shutil.copytree(DEMO_RUN, tmp_path_factory.mktemp("report") / "demo")))


@pytest.fixture(scope="module")
def page(demo) -> Page:
    return make_report(demo)


def test_a_circuit_has_its_picture_paths_neurons_and_tests(page):
    assert TITLE in page.text and "·Austin and not ·Sacramento after" in page.text
    assert any("ns-circuit" in (a.get("class") or "") for name, a in page.tags if name == "svg")
    assert "Drawn: 7 of 10 nodes and 9 of 13 edges" in page.text and "rest nodes and the constant" in page.text
    assert "7 ·Dallas → L1N363+ at 7 [Texas] towns in Texas → ·Austin" in page.text
    assert "What edges do not show" in page.text and "queries and keys" in page.text
    row = re.search(
        r"L1N363\+ 7 ·Dallas \[Texas\] towns in Texas (\+6\S* \+0\S* \+2.4\S* \+2.3\S* \+2.2\S*)", page.text
    )
    assert row, "activation, reference, score, total and measured effect stand in one row"


def test_tests_have_their_null_with_spread_and_p(page):
    assert "200 0.97 0.01 ± 0.02 ≤ 0.001 0.19 0.99 ± 0.02 ≤ 0.001 1,000" in page.text
    assert "Texas 1 other1 ·Austin ·Sacramento ·Sacramento yes +6.5" in page.text and "0.10 ± 0.30 ≤ 0.01" in page.text
    assert "Circuit of ·Austin - ·Sacramento: the 3 own neurons of the circuit keep 0.62" in page.text
    assert "The 200 strongest neurons keep 0.97 of the target function (random sets 0.01 ± 0.02" in page.text
    assert any(a.get("aria-label") == "share of the target kept against set size" for _, a in page.tags)


def test_measured_edges_stand_beside_their_predictions(page):
    assert "Predicted and measured effects of 5 edges" in page.text
    assert "L3N508+ at 8 L4N178- at 8" not in page.text and "L1N363+ at 7 L4N178- at 8 -0.9" in page.text


def test_groups_are_drawn_as_single_nodes_too(page):
    assert page.text.count("Drawn: ") == 4 and "Groups made by people; lines are sums." in page.text


def test_problems_and_warnings_are_said(page):
    assert "broken: it is not finished" in page.text and "a made test" in page.text


def test_hostile_text_stays_text(page):
    assert not page.unbalanced and not page.open
    assert page.names.isdisjoint({"script", "img", "iframe", "a href", "foreignObject", "image", "use"})
    assert all(not key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert all(value.startswith("#") for value in page.loads())
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page.html) is None
    assert "document.title" in page.text and "\\x1b[31mred\\u202e" in page.text


def test_a_large_circuit_says_what_is_left_out(tmp_path):
    run_dir = Path(shutil.copytree(DEMO_RUN, tmp_path / "demo"))
    graph = write_circuit(run_dir, made_graph(neurons_per_place=40))
    text = make_report(run_dir).text
    assert f"Drawn: {MOST_NODES} of {len(graph.nodes)} nodes" in text and "more nodes than are shown at once" in text
    assert "This circuit was not tested" in text and "The circuit made was not tested" in text
    said = hidden_words(show(graph, Thresholds(max_nodes=10)))
    assert said.startswith("Drawn: 10 of ") and sum(map(int, re.findall(r"(\d+) nodes?,? ", said))) > 0


def test_at_most_three_circuits_those_of_the_prompt_first(tmp_path):
    run_dir = Path(shutil.copytree(DEMO_RUN, tmp_path / "demo"))
    for name in ("a", "b", "c", "d"):
        write_circuit(run_dir, made_graph(), name)
    write_circuit(run_dir, austin_graph(run_dir), "z_own")
    text = make_report(run_dir).text
    assert "3 of 5 circuits of the run are shown" in text
    assert text.index("z_own") < text.index("·Austin and not ·Sacramento")


@pytest.mark.parametrize("file", ["nodes.parquet", "curves.parquet", "groups.json"])
def test_a_damaged_part_is_one_line(demo, tmp_path, file):
    run_dir = Path(shutil.copytree(demo, tmp_path / "demo"))
    (run_dir / "circuits" / AUSTIN / file).write_bytes(b"PAR1 not what it was PAR1")
    text = make_report(run_dir).text
    assert TITLE in text and file in text
    assert ("towns in Texas" in text) == (file != "nodes.parquet") and HOSTILE_CIRCUIT in text


def test_what_several_circuits_share_has_a_table(demo, tmp_path):
    run_dir = Path(shutil.copytree(demo, tmp_path / "demo"))
    write_common(run_dir)
    page = make_report(run_dir)
    assert "Common circuit template" in page.text and "2 circuits, of which 1 held out" in page.text
    assert (
        "In 1 held-out prompt the common neurons keep 0.62 of the target function (random sets 0.01 ± 0.05, largest "
        "p ≤ 0.001)" in page.text
    )
    assert "L1N2 end-1 100% +0.750 ± 0.25" in page.text and "script" not in page.names
    (run_dir / "circuits" / "template" / "members.parquet").write_bytes(b"no")
    assert "members.parquet" in make_report(run_dir).text


def test_without_circuits_there_is_no_section(tmp_path):
    assert TITLE not in make_report(Path(shutil.copytree(DEMO_RUN, tmp_path / "demo"))).text


def test_it_runs_without_torch(demo):
    code = f"from neuron_signatures.report import main; sys.exit(main(['--run_dir', {str(demo)!r}]))"
    done = run_blocked(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_nothing_is_asked_for_and_the_page_does_not_scroll_sideways(demo, page, width):
    from browser import CHROMIUM
    from playwright import sync_api

    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": width, "height": 900})
        asked: list[str] = []
        shown.on("request", lambda r: asked.append(r.url))
        shown.goto((demo / "report.html").as_uri())
        shown.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert shown.evaluate("document.documentElement.scrollWidth") == width
        assert asked == [(demo / "report.html").as_uri()] and "EVIL" not in shown.title()
        drawn = shown.locator("svg.ns-circuit").first
        assert drawn.bounding_box()["width"] > 300 and drawn.locator("g.up, g.dn").count() >= 3
        browser.close()
