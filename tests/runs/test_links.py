"""Nothing outside a run folder is written, whatever its files are."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from dump_faults import kill_at_rename, run_dump
from dump_runs import flags
from run_folders import write_run

from neuron_signatures.poc1_dump_activations import main
from neuron_signatures.runs.errors import BadRunError, RunLockedError
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run

SECRET = '{"secret": 1}\n'


def link(path: Path, victim: Path) -> None:
    victim.write_text(SECRET)
    path.symlink_to(victim)


def dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def device(path: Path, victim: Path) -> None:
    path.symlink_to("/dev/zero")


def unix_socket(path: Path, victim: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has at most 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path.name)
    finally:
        os.chdir(here)


TRAPS = [link, dangling, pipe, device, unix_socket]


@pytest.mark.parametrize("trap", TRAPS)
def test_a_lock_that_is_not_a_file_of_the_run_is_refused(tmp_path, trap: Callable[[Path, Path], None]):
    run_dir, victim = write_run(tmp_path / "r"), tmp_path / "victim"
    trap(run_dir / ".lock", victim)
    before = victim.read_text() if victim.exists() else None
    with pytest.raises(BadRunError, match="so nothing is written to it"), run_lock(run_dir):
        pass
    assert (victim.read_text() if victim.exists() else None) == before


@pytest.mark.parametrize("trap", TRAPS)
def test_a_journal_that_is_not_a_file_of_the_run_is_refused(tmp_path, capsys, trap: Callable[[Path, Path], None]):
    argv = flags(tmp_path, "--shard_size", "8kB")
    assert run_dump(argv, partial(kill_at_rename, "activations", nth=2)).returncode < 0
    journal, victim = tmp_path / "run" / "dump_journal.jsonl", tmp_path / "victim"
    text = journal.read_text()
    journal.unlink()
    trap(journal, victim)
    if victim.exists():
        victim.write_text(text)
    code = main([*argv, "--resume"])
    assert code == 3 and capsys.readouterr().err.count("error: ") == 1
    assert not victim.exists() or victim.read_text() == text


def test_a_linked_folder_of_a_run_is_refused(tmp_path, capsys):
    run_dir, victim = write_run(tmp_path / "r"), tmp_path / "victim"
    victim.mkdir()
    (victim / ".tmp-mine").write_text(SECRET)
    (run_dir / "analysis").symlink_to(victim)
    with pytest.raises(BadRunError, match="is a link"), open_results(Run.open(run_dir)):
        pass
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".replaced").symlink_to(victim)
    assert main(flags(tmp_path, "--overwrite")) == 3
    assert "is a link" in capsys.readouterr().err
    assert [p.name for p in victim.iterdir()] == [".tmp-mine"]


def test_a_replaced_run_that_is_no_folder_is_refused(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / ".replaced")
    assert main(flags(tmp_path, "--overwrite")) == 3
    assert "is not a folder" in capsys.readouterr().err


def test_a_result_that_is_a_link_is_replaced_not_followed(tmp_path):
    run, victim = Run.open(write_run(tmp_path / "r")), tmp_path / "victim.json"
    with open_results(run) as writer:
        link(writer.folder / "x.json", victim)
        writer.json("x.json", {"new": 1})
        assert not (writer.folder / "x.json").is_symlink()
        link(writer.folder / "y.json", tmp_path / "other.json")
        writer.remove("y.json")
    assert victim.read_text() == (tmp_path / "other.json").read_text() == SECRET


def test_a_lock_and_a_journal_with_a_second_name_are_separated_from_it(tmp_path, capsys):
    argv = flags(tmp_path, "--shard_size", "8kB")
    assert run_dump(argv, partial(kill_at_rename, "activations", nth=2)).returncode < 0
    files = {n: tmp_path / f"other_{n}" for n in (".lock", "dump_journal.jsonl")}
    (tmp_path / "run" / ".lock").write_text(SECRET)
    for name, other in files.items():
        other.hardlink_to(tmp_path / "run" / name)
    before = {name: other.read_bytes() for name, other in files.items()}
    assert main([*argv, "--resume"]) == 0
    assert {name: other.read_bytes() for name, other in files.items()} == before
    assert Run.open(tmp_path / "run", check="sha256").acts(0).size


def test_a_lock_with_a_second_name_still_excludes_another_writer(tmp_path):
    run_dir = write_run(tmp_path / "r")
    with run_lock(run_dir):
        (tmp_path / "copy").hardlink_to(run_dir / ".lock")
        with pytest.raises(RunLockedError), run_lock(run_dir):
            pass
