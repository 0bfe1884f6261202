"""Fixtures of the tests of stage 5: a run with records that is made once, and a copy of it for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from explain_stage import KEY, make_run


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("explain") / "run")


@pytest.fixture
def run_dir(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NEURON_SIGNATURES_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(prepared, tmp_path / "run"))
