"""Helpers of the tests in a real browser: a server of the explorer, an address, and waiting until it is drawn."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from explorer import SCRIPT

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
DONE = '[data-testid="stApp"][data-test-script-state="notRunning"]'


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a real server, started in this folder, whose `runs` it shows."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(SCRIPT), f"--server.port={port}", "--", "--run", "demo"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/_stcore/health", process, folder / "log")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(300):
        try:
            urlopen(url, timeout=2).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def visit(page, url: str) -> None:
    page.goto(url)
    page.wait_for_selector('[data-testid="stAppViewContainer"]', timeout=60_000)
    settle(page)


def settle(page) -> None:
    page.wait_for_selector(DONE, timeout=120_000)
    page.wait_for_function("!document.querySelector('[data-stale=\"true\"]')", timeout=60_000)
    page.wait_for_function("!document.querySelector('[data-testid=\"stSkeleton\"]')", timeout=60_000)


def address(page) -> dict[str, str]:
    return {k: v[0] for k, v in parse_qs(urlsplit(page.url).query).items()}


def is_harmless(page) -> None:
    """Assert that nothing of hostile text became a part of the page."""
    assert page.title() == "neuron signatures"
    main = page.locator('[data-testid="stAppViewContainer"]')
    assert main.locator("iframe, script, img, [onerror]").count() == 0
    assert main.locator(".katex, b:has-text('EVIL'), a[href*='evil']").count() == 0
