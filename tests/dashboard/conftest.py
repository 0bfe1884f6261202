"""Fixtures of the dashboard tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import streamlit as st
from explorer import demo_root


@pytest.fixture(autouse=True)
def _empty_caches() -> None:
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A runs root with a copy of the small demo run."""
    return demo_root(tmp_path)
