"""Screens show paths, so the tests of the browser run in folders with short names, whatever the worker is called."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        yield Path(folder).resolve()
