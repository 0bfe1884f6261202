"""Fixtures of the dashboard tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import streamlit as st
from browser import CHROMIUM
from explorer import demo_root


@pytest.fixture(autouse=True)
def _empty_caches() -> None:
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A runs root with a copy of the small demo run."""
    return demo_root(tmp_path)


@pytest.fixture
def page() -> Iterator[Any]:
    """A page that fails on a dialog, an error, and any request to another host."""
    from playwright import sync_api

    with sync_api.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = chromium.new_page(viewport={"width": 1280, "height": 1400})
        asked: list[str] = []
        troubles: list[str] = []
        tab.on("request", lambda r: asked.append(r.url))
        tab.on("dialog", lambda d: (troubles.append(d.message), d.dismiss()))
        tab.on("pageerror", lambda e: troubles.append(str(e)))
        yield tab
        chromium.close()
        hosts = {urlsplit(u).hostname for u in asked if not u.startswith(("data:", "blob:", "about:"))}
        assert hosts <= {"127.0.0.1"} and not troubles, (hosts, troubles)
