"""A run that is being replaced is never lost, wherever the replacement stops."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from dump_runs import flags
from run_folders import write_run

from neuron_signatures.poc1_dump_activations import main
from neuron_signatures.runs import replacement
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.runs.listing import list_runs
from neuron_signatures.runs.verify import verify_run
from neuron_signatures.runs.writer import open_writer

SETTINGS = {"settings": {}, "facts": {}}


@pytest.fixture
def old(tmp_path) -> Path:
    """A run with results."""
    run_dir = write_run(tmp_path / "run")
    (run_dir / "analysis").mkdir()
    (run_dir / "analysis" / "notes.json").write_text("{}")
    return run_dir


def content(run_dir: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(run_dir)): p.read_bytes() for p in run_dir.rglob("*") if p.is_file() and p.name != ".lock"
    }


def fail_at(monkeypatch, nth: int, error: BaseException) -> None:
    """Let the nth rename of a path fail."""
    rename, seen = Path.rename, []

    def failing(self: Path, target: Path) -> Path:
        seen.append(target)
        if len(seen) == nth:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_run_that_cannot_be_moved_stays(old, monkeypatch, nth):
    before = content(old)
    fail_at(monkeypatch, nth, PermissionError(13, "Permission denied"))
    with pytest.raises(EnvironmentProblem), open_writer(old, "overwrite", **SETTINGS):
        pass
    assert content(old) == before and verify_run(old).faults == []


def test_a_run_is_put_back_if_the_journal_cannot_be_written(old, monkeypatch):
    before = content(old)
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(EnvironmentProblem), open_writer(old, "overwrite", **SETTINGS):
        pass
    assert content(old) == before


class Killed(BaseException):
    pass


@pytest.mark.parametrize("nth", range(1, 9))
def test_after_a_kill_between_two_moves_a_failed_replacement_restores_the_run(old, monkeypatch, nth):
    before = content(old)
    with monkeypatch.context() as patch:
        fail_at(patch, nth, Killed())
        with pytest.raises(Killed):
            replacement.set_aside(old)
            replacement.put_back(old)
            raise Killed  # all moves were done
    with pytest.raises(ValueError, match="fails"), open_writer(old, "overwrite", **SETTINGS):
        raise ValueError("fails")
    assert content(old) == before


@pytest.mark.parametrize("name", [".replaced", ".replaced-moving"])
def test_a_run_that_waits_is_listed_and_not_touched_by_a_plain_dump(tmp_path, capsys, name):
    write_run(tmp_path / "made")
    (tmp_path / "run").mkdir()
    shutil.move(tmp_path / "made", tmp_path / "run" / name)
    before = content(tmp_path / "run")
    assert main(flags(tmp_path)) == 2
    assert "holds a run that was to be replaced" in capsys.readouterr().err
    assert content(tmp_path / "run") == before
    (summary,) = [r for r in list_runs(tmp_path) if r.name == "run"]
    assert summary.status == "stopped" and f"the run is in {name}" in summary.problem


def test_a_half_moved_run_is_restored_before_it_is_resumed(tmp_path):
    run_dir = write_run(tmp_path / "run")
    before = content(run_dir)
    (run_dir / ".replaced-moving").mkdir()
    (run_dir / "manifest.json").rename(run_dir / ".replaced-moving" / "manifest.json")
    with pytest.raises(UsageError, match="is complete already"), open_writer(run_dir, "resume", **SETTINGS):
        pass
    assert content(run_dir) == before
