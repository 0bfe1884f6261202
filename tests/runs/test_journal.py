"""A journal that someone has edited: refused in one line, or its records are not used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from dump_faults import kill_before_manifest, run_dump
from dump_runs import flags

from neuron_signatures.poc1_dump_activations import main
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.verify import verify_run


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> tuple[list[str], Path]:
    """The flags and the folder of a dump that was killed before it wrote the manifest."""
    folder = tmp_path_factory.mktemp("stopped")
    argv = flags(folder, "--shard_size", "8kB")
    assert run_dump(argv, kill_before_manifest).returncode < 0
    return argv, folder / "run"


def edited(stopped: tuple[list[str], Path], tmp_path: Path, line: int, **changes: Any) -> list[str]:
    """The flags to resume a copy of the stopped dump, with changed fields in one line of its journal."""
    argv, run_dir = stopped
    shutil.copytree(run_dir, tmp_path / "run")
    path = tmp_path / "run" / "dump_journal.jsonl"
    lines = path.read_text().splitlines()
    lines[line] = json.dumps({**json.loads(lines[line]), **changes})
    path.write_text("\n".join(lines) + "\n")
    return [*argv, "--out_dir", str(tmp_path / "run"), "--resume"]


def facts_of(stopped: tuple[list[str], Path]) -> dict[str, Any]:
    return json.loads((stopped[1] / "dump_journal.jsonl").read_text().splitlines()[0])["facts"]


@pytest.mark.parametrize(
    "change",
    [{"versions": [0, 1]}, {"format_version": 2}, {"n_prompts": 5}, {"host": "\ud800"}, {"flags_given": None}, None],
    ids=str,
)
def test_facts_that_the_manifest_cannot_hold_are_refused(stopped, tmp_path, capsys, change):
    facts = {} if change is None else {**facts_of(stopped), **change}
    assert main(edited(stopped, tmp_path, 0, facts=facts)) == 3
    err = capsys.readouterr().err
    assert "the journal is damaged" in err and err.count("\n") == 1


@pytest.mark.parametrize("outcome", [["p0", -1, None], ["p0", 0, "\ud800"], ["p0", 1 << 70, None]], ids=str)
def test_outcomes_that_the_manifest_cannot_hold_are_refused(stopped, tmp_path, capsys, outcome):
    assert main(edited(stopped, tmp_path, 1, outcomes=[outcome])) == 3
    assert "the journal is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [{"outcomes": []}, {"outcomes": [["other", 0, None]]}, {"file": None}, {"shard": 77}, {"shard": 1}],
    ids=str,
)
def test_a_shard_of_other_prompts_is_computed_again(stopped, tmp_path, change):
    assert main(edited(stopped, tmp_path, 1, **change)) == 0
    assert verify_run(tmp_path / "run").faults == []
    assert [p.probe_id for p in Run.open(tmp_path / "run").prompts] == [f"p{i}" for i in range(7)]
