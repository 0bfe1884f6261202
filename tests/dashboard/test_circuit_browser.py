"""The canvas of the view Circuit in a real browser: hostile labels, clicks, the keyboard, and groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser import address, is_harmless, served, settle, visit
from circuits_made import EVIL, MARKUP, made_graph, write_circuit
from explorer import HOSTILE, plain_run

from neuron_signatures.runs.circuits.groups import Group, GroupsFile, write_groups

pytestmark = pytest.mark.browser
TROUBLE = "".join(HOSTILE[1:]) + "\x1b]0;x\x07\u202e" + "x" * 10_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server of the run `demo` with a circuit whose every text is hostile."""
    run_dir = tmp_path / "runs" / "demo"
    run_dir.parent.mkdir()
    plain_run(run_dir)
    graph = made_graph(neurons_per_place=12)
    graph = replace(graph, nodes=tuple(replace(n, label=[TROUBLE, EVIL, MARKUP, ""][i % 4])
                                       for i, n in enumerate(graph.nodes)))  # fmt: skip
    write_circuit(run_dir, graph)
    group = Group(id="g", label=(EVIL + MARKUP)[:200], nodes=("0_0_0", "0_2_0"))
    write_groups(run_dir, "made", GroupsFile(groups=(group,)), expected_etag="")
    with served(tmp_path) as url:
        yield url


def node(page, name: str):
    return page.locator(".node", has_text=name).first


def test_hostile_labels_are_text_and_clicks_select(server: str, page):
    visit(page, f"{server}?view=circuit")
    canvas = page.locator(".scroll svg")
    canvas.wait_for()
    assert page.locator(".node").count() > 20 and page.locator(".edge").count() > 20
    is_harmless(page)
    texts = page.locator(".scroll text").all_text_contents()
    assert all(t.isprintable() and len(t) < 40 for t in texts) and any("EVIL" in t or "…" in t for t in texts)

    node(page, "L0N0+").hover()
    page.locator(".tip", has_text="relevance").wait_for()
    is_harmless(page)
    assert page.locator(".edge.on").count() >= 1
    node(page, "L0N0+").click()
    page.get_by_text("Incoming: ").wait_for()
    settle(page)
    assert address(page)["node"].startswith("0_0_") and address(page)["circuit"] == "made"
    node(page, "L1N0+").click(modifiers=["Shift"])
    page.get_by_text("Σ total effects on the target").wait_for()
    settle(page)
    assert len(address(page)["node"].split(",")) == 2 and page.locator(".node.selected").count() == 2
    is_harmless(page)

    page.get_by_role("button", name="All groups as one node each").click()
    page.locator(".node.group").wait_for()
    settle(page)
    is_harmless(page)


def test_the_keyboard_moves_selects_and_clears(server: str, page):
    visit(page, f"{server}?view=circuit&circuit=made&node=3_9_4")
    page.locator(".scroll svg").wait_for()
    settle(page)
    page.locator(".node.target").focus()
    page.keyboard.press("ArrowDown")
    focused = page.locator(".node:focus")
    assert focused.count() == 1 and focused.get_attribute("tabindex") == "0"
    name = focused.get_attribute("aria-label")
    assert name is not None and name.startswith("L1N")
    page.keyboard.press("Enter")
    page.get_by_text("Outgoing: ").wait_for()
    page.wait_for_url(lambda url: "node=1_" in url)
    settle(page)
    assert page.locator(".node:focus").count() == 1  # the canvas is drawn again; the focus stays
    page.keyboard.press("Escape")
    page.get_by_text("Click a node to see its edges").wait_for()
    settle(page)
    assert "node" not in address(page)
    page.get_by_role("button", name="Zoom in").click()
    wide = page.locator(".scroll svg").get_attribute("width")
    page.get_by_role("button", name="Fit to the width").click()
    assert float(page.locator(".scroll svg").get_attribute("width") or 0) < float(wide or 0)
