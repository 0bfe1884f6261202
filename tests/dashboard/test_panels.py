"""The facts about a run in the overview."""

from __future__ import annotations

import pytest
from run_folders import write_run, write_v1

from neuron_signatures.dashboard.shell.panels import technical_facts
from neuron_signatures.runs.run import Run


@pytest.mark.parametrize("write", [write_run, write_v1])
def test_one_file_is_one_file(tmp_path, write):
    assert dict(technical_facts(Run.open(write(tmp_path / "run"))))["stored as"].endswith(" in 1 file")
