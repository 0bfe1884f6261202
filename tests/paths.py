"""Paths that the tests read."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
DEMO_RUN = TESTS / "data" / "demo_run"
