"""The table [search] of a pipeline."""

from __future__ import annotations

import pytest
from pipeline_cases import EXPLAINED, RANKED, run, write_config

from neuron_signatures.runs.search.reader import Search
from neuron_signatures.steps.config import read_config
from neuron_signatures.steps.step import steps_of


def test_it_comes_after_the_explanations_and_before_the_report(tmp_path):
    path = write_config(tmp_path, RANKED, "[report]", "[search]\nembedder = 'none'\nexemplars = 2", EXPLAINED)
    steps = steps_of(read_config(path))
    names = [step.stage.table for step in steps]
    assert names[-2:] == ["search", "report"]
    command = steps[-2].command()
    assert command.startswith("python -m neuron_signatures.search_neurons index --run_dir=")
    assert "--embedder=none" in command and "--exemplars=2" in command
    assert set(steps[-2].needs) == {"records", "explain lookup"}


@pytest.mark.slow
def test_the_index_is_made_and_made_again_when_explanations_were_added(tmp_path):
    path = write_config(tmp_path, EXPLAINED, "[search]\nembedder = 'none'")
    assert run(path) == 0
    contents = Search.open(tmp_path / "run").contents()
    assert contents.has_index and contents.n_explanations == 1 and contents.n_exemplars > 100
    made = (tmp_path / "run" / "search" / "search_meta.json").stat().st_mtime_ns
    assert run(path) == 0 and (tmp_path / "run" / "search" / "search_meta.json").stat().st_mtime_ns == made
