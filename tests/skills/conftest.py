"""A run with collected skills, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from skills_runs import collected_run


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collected_run(tmp_path_factory.mktemp("skills"))
