"""The view Live in a real browser: with a real server and the demo model, and with hostile answers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import is_harmless, served, settle, visit
from explorer import HOSTILE, ROOT, demo_root, plain_run
from fake_live import FakeClient, facts
from fake_live_http import served_over_http
from processes import free_port

from neuron_signatures.api.models import ModelState
from neuron_signatures.dashboard.live.address import URL_VARIABLE

pytestmark = pytest.mark.browser
SECONDS = 60_000
"""In milliseconds, as playwright takes them."""
TEN_NEURONS = re.compile(r"(L\d+N\d+, ){9}L\d+N\d+")


@contextmanager
def live_server(runs: Path, port: int = 0) -> Iterator[str]:
    """The address of a real server of the demo model."""
    command = [sys.executable, "-m", "neuron_signatures.serve", "--model_name", "demo", "--runs_root", str(runs),
               "--port", str(port), "--embedder", "none"]  # fmt: skip
    with (runs.parent / "serve.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), (runs.parent / "serve.log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    root.mkdir()
    return demo_root(root)


def run_text(page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Edit neurons and see the answer change").wait_for(timeout=SECONDS)
    settle(page)


def choose(page, key: str, option: str) -> None:
    """Choose an option of a select box; a script run that ends meanwhile closes its list."""
    from playwright import sync_api

    for attempt in range(6):
        page.locator(f".st-key-{key} input").click()
        try:
            page.get_by_role("option", name=option).click(timeout=4000)
            break
        except sync_api.TimeoutError:
            assert attempt < 5, f"{option!r} is not offered"
    settle(page)


def test_type_a_text_see_the_neurons_fire_and_edit_some(runs: Path, monkeypatch, page):
    from playwright import sync_api

    with live_server(runs) as url:
        monkeypatch.setenv(URL_VARIABLE, url)
        with served(runs.parent) as explorer:
            visit(page, f"{explorer}?view=live&layer=4&neuron=178")
            text = page.get_by_role("textbox", name="Text")
            text.fill("The capital of the state containing Dallas is")
            text.press("Control+Enter")
            page.get_by_text("L4N178 on this text").wait_for(timeout=SECONDS)
            settle(page)
            page.get_by_text("The model of this run.").wait_for()
            page.get_by_text("prompt 0 of the run; its activations").wait_for()

            page.get_by_text("Neurons with influence").click()
            page.get_by_role("button", name="with positive influence together").click()
            sync_api.expect(page.get_by_role("textbox", name="Neurons")).to_have_value(TEN_NEURONS)
            settle(page)
            choose(page, "ui_live_kind", "flip sign")
            page.get_by_role("button", name="Apply", exact=True).click()
            verdict = page.get_by_text("The answer changes: ·Austin 99.")
            verdict.wait_for(timeout=SECONDS)
            settle(page)
            page.get_by_text("20 random sets of 10 neurons of the same layers").wait_for()
            page.get_by_text("≤ 0.048").wait_for()
            page.locator(".ns-text", has_text="Dallas is Austin").wait_for()
            is_harmless(page)

            page.get_by_text("Overview", exact=True).click()
            settle(page)
            page.get_by_text("Live", exact=True).first.click()
            verdict.wait_for(timeout=SECONDS)  # answers are kept


def test_the_page_connects_by_itself_and_keeps_what_was_computed(runs: Path, monkeypatch, page):
    port = free_port()
    monkeypatch.setenv(URL_VARIABLE, f"http://127.0.0.1:{port}")
    with served(runs.parent) as explorer:
        visit(page, f"{explorer}?view=live")
        page.get_by_text("No server answers").wait_for()
        with live_server(runs, port):
            page.get_by_text("demo: 5 layers of 512 neurons").wait_for(timeout=SECONDS)
            settle(page)
            run_text(page)
        page.get_by_text("The server does not answer any more").wait_for(timeout=SECONDS)
        assert page.get_by_role("textbox", name="Text").input_value() == "The capital of the state containing Dallas is"
        page.get_by_text("After position 8 ·is. Entropy").wait_for(timeout=SECONDS)
        with live_server(runs, port):
            page.get_by_text("The server does not answer any more").wait_for(state="detached", timeout=SECONDS)


def test_hostile_answers_are_text(tmp_path: Path, monkeypatch, page):
    plain_run(tmp_path / "runs" / "demo")
    evil = "".join(HOSTILE[1:]) + "\x1b[31m\u202e"
    state = ModelState(state="ready", model_name=evil, facts=facts(
        model_name=evil, architecture=evil, device=evil, quantization=evil, quantization_reason=evil,
    ))  # fmt: skip
    client = FakeClient(state, words=[*HOSTILE, "\x1b]0;x\x07", "\u202ex"], runs=tmp_path / "runs")
    with served_over_http(client) as url:
        monkeypatch.setenv(URL_VARIABLE, url)
        with served(tmp_path) as explorer:
            visit(page, f"{explorer}?view=live")
            page.get_by_role("textbox", name="Text").fill(evil)
            run_text(page)
            page.get_by_role("button", name="Edit the first 2 together").click()
            settle(page)
            page.get_by_role("button", name="Apply", exact=True).click()
            page.get_by_text("The answer changes").wait_for(timeout=SECONDS)
            settle(page)
            is_harmless(page)
