"""Commands in odd surroundings: terminals of any size, full disks behind stdout and stderr, huge values."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import DEMO_RUN

from neuron_signatures.cli.arguments import folder, number
from neuron_signatures.cli.command import command
from neuron_signatures.cli.output import setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import UsageError

FULL = Path("/dev/full")
LIST = ["runs", "list", str(DEMO_RUN.parent)]


def run(argv, *, memory: int = 0, env=None, **kwargs) -> subprocess.CompletedProcess[str]:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))\n" if memory else ""
    code = f"{limit}import sys\nfrom neuron_signatures.__main__ import main\nsys.exit(main({list(argv)!r}))"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs
    full_env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", **(env or {})}
    return subprocess.run([sys.executable, "-c", code], text=True, env=full_env, check=False, timeout=100, **streams)


@pytest.mark.skipif(os.name == "nt", reason="no limit of memory")
@pytest.mark.parametrize("size", ["9999999999", "9" * 5000, "-5", "wide"])
def test_a_terminal_of_any_size_takes_little_memory(size):
    for argv in (LIST, ["runs", "show", str(DEMO_RUN)], ["browse", "--run_dir", str(DEMO_RUN), "--print"]):
        done = run(argv, memory=4 << 30, env={"COLUMNS": size, "LINES": size})
        assert (done.returncode, done.stderr) == (0, ""), argv
        assert 0 < max(map(len, done.stdout.splitlines())) <= 1000


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("argv", [LIST, ["--help"], ["dump", "--help"]])
def test_a_full_disk_behind_stdout_is_named(argv, unbuffered):
    with FULL.open("w") as full:
        done = run(argv, env={"PYTHONUNBUFFERED": unbuffered}, stdout=full)
    assert (done.returncode, done.stderr) == (1, "error: standard output: No space left on device\n")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stderr_does_not_change_the_exit_code():
    with FULL.open("w") as full:
        assert run(["runs", "show", "/nonexistent"], stderr=full).returncode == 3
        assert run(LIST, stderr=full).returncode == 0


def test_a_full_disk_without_a_file_name_gives_the_folders_that_libraries_use(capsys, tmp_path, monkeypatch):
    @command
    def main(argv=None):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert main([]) == 1
    err = capsys.readouterr().err
    assert f"{tmp_path} (" in err and "free)" in err and err.endswith("No space left on device\n")


def test_log_lines_and_errors_are_short(capsys):
    setup_logging(quiet=True)
    logging.getLogger("neuron_signatures.test").warning("%s", "x" * 100_000)
    parser = Parser(prog="stage")
    parser.add_argument("--n", type=int, choices=[1, 2])
    for argv in (["--n", "9" * 100_000], ["--n", "12345" * 100], ["--" + "m" * 100_000], ["v" * 100_000]):
        with pytest.raises(UsageError) as caught:
            parser.parse_args(argv)
        assert len(caught.value.line()) <= 400
    assert len(capsys.readouterr().err) <= 400


def test_values_that_no_path_or_record_can_hold_are_usage_errors():
    parser = Parser(prog="stage")
    parser.add_argument("--out_dir", type=folder)
    parser.add_argument("--above", type=number)
    assert parser.parse_args(["--out_dir", "~nobody-has-this-name/x"]).out_dir == Path("~nobody-has-this-name/x")
    for argv in (["--out_dir", "a\0b"], ["--above", "1e100"], ["--above", "nan"]):
        with pytest.raises(UsageError):
            parser.parse_args(argv)
