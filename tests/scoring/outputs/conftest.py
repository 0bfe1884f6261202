from __future__ import annotations

from pathlib import Path

import pytest
from subject_runs import make_demo_records


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of the demo model, which no test changes."""
    return make_demo_records(tmp_path_factory.mktemp("records") / "run")
