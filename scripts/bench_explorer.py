"""The explorer's part of bench_viewers: a real server and a headless Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

from bench_common import Bar, at_most, peak_resident, spread
from viewer_runs import make_viewer_run

if TYPE_CHECKING:
    from playwright.sync_api import Page

APP = Path(__file__).resolve().parents[1] / "neuron_signatures" / "eda_streamlit.py"
PLAIN = """
import pandas as pd, plotly.express as px, streamlit as st
frame = pd.DataFrame({"token": range(16), "activation": range(16)})
st.title("One figure")
st.plotly_chart(px.line(frame, x="token", y="activation"))
"""
DRAWN = ".js-plotly-plot .plot-container"


class Server:
    """A new Streamlit server for one script, on a free port."""

    def __init__(self, script: Path, *flags: str) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        settings = {"server.headless": "true", "server.address": "127.0.0.1", "browser.gatherUsageStats": "false"}
        argv = [f"--{k}={v}" for k, v in {**settings, "server.port": self.port}.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(script), *argv, "--", *flags],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.pid = self._process.pid

    def __enter__(self) -> Server:
        while True:
            try:
                urlopen(f"http://127.0.0.1:{self.port}/_stcore/health", timeout=5).close()
                return self
            except URLError:
                if self._process.poll() is not None:
                    raise RuntimeError("the server did not start") from None
                time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def url(self, query: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/{query}"


def chromium_path() -> str:
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or sys.exit("chromium is not installed")


def bench_explorer_start(quick: bool) -> list[Bar]:
    """Seconds from opening the page of a new server to its first figure."""
    times: dict[str, list[float]] = {"plain page": [], "explorer": []}
    with _runs() as root, _plain() as plain, _browser() as page:
        for n in range(3 if quick else 6):
            for name, script, flags in (("plain page", plain, ()), ("explorer", APP, ("--runs_root", str(root)))):
                with Server(script, *flags) as server:
                    seconds = _open(page, server)
                if n:
                    times[name].append(seconds)
    return [at_most("explorer / plain page, first view", times, "explorer", "plain page", 2)]


def bench_explorer_memory(quick: bool) -> list[Bar]:
    """Peak memory of the server after every view, minus that of the plain page."""
    with _runs() as root, _plain() as plain, _browser() as page:
        with Server(plain) as server:
            _open(page, server)
            base = peak_resident(server.pid)
        with Server(APP, "--runs_root", str(root)) as server:
            after = {}
            for view in ("overview", "neuron", "ranking", "signatures", "map", "query"):
                page.goto(server.url(f"?view={view}"))
                _settled(page)
                after[view] = (peak_resident(server.pid) - base) / 1e6
    worst = after["query"]
    steps = ", ".join(f"{k} {v:.0f}" for k, v in after.items())
    return [Bar("explorer - plain page, peak memory (MB)", worst, "<= 600", worst <= 600, f"after each view: {steps}")]


def bench_explorer_moves(quick: bool) -> list[Bar]:
    """Seconds from a click on the next neuron to its figures."""
    with _runs() as root, _browser() as page, Server(APP, "--runs_root", str(root)) as server:
        page.goto(server.url("?view=neuron"))
        _settled(page)
        took = []
        for _ in range(4 if quick else 12):
            before = page.url
            started = time.perf_counter()
            page.get_by_role("button", name="Next", exact=True).click()
            page.wait_for_url(lambda url, before=before: url != before)
            _settled(page)
            took.append(time.perf_counter() - started)
    ratio = statistics.median(took)
    return [Bar("explorer, change of neuron (s)", ratio, "<= 0.5", ratio <= 0.5, spread(took))]


def _open(page: Page, server: Server) -> float:
    started = time.perf_counter()
    page.goto(server.url())
    page.wait_for_selector(DRAWN)
    _settled(page)
    return time.perf_counter() - started


def _settled(page: Page) -> None:
    """Wait until the script has started (it draws the view selector first) and finished."""
    page.wait_for_selector('[data-testid="stMain"] [data-testid="stButtonGroup"], [data-testid="stPlotlyChart"]')
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=300_000)
    page.wait_for_function("!document.querySelector('[data-stale=\"true\"]')", timeout=300_000)


@contextmanager
def _browser() -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


@contextmanager
def _runs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        make_viewer_run(Path(folder) / "big")
        yield Path(folder)


@contextmanager
def _plain() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "plain.py"
        script.write_text(PLAIN)
        yield script
