"""A small part of scripts/attack.py, and proof that it finds and reports defects."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import attack_common
import pytest
from attack_common import Case, Clock, Trial
from attack_mutations import damage, mutate
from paths import ROOT

from neuron_signatures.runs.errors import UsageError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the attack needs fork and /proc")
SCRIPTS = ROOT / "scripts"
SMALL = "--seed 1 --kills 3 --manifests 200 --files 50 --command_lines 20 --processes 1"


def test_a_small_attack_finds_no_defect(tmp_path):
    done = run_script(SCRIPTS / "attack.py", *SMALL.split(), "--keep", tmp_path / "runs")
    assert done.returncode == 0, done.stdout + done.stderr
    for kind, n in (("kills", 3), ("manifests", 200), ("files", 50), ("command_lines", 20)):
        assert f"{kind:14}{n:>7} cases     0 defects" in done.stdout


def test_an_attack_without_cases_of_a_kind_reports_none(tmp_path):
    """As for one that is only about manifests."""
    none = "--kills 0 --manifests 1 --files 0 --command_lines 0 --processes 1"
    done = run_script(SCRIPTS / "attack.py", *none.split(), "--keep", tmp_path / "runs")
    assert done.returncode == 0, done.stdout + done.stderr
    for kind, n in (("kills", 0), ("manifests", 1), ("files", 0), ("command_lines", 0)):
        assert f"{kind:14}{n:>7} cases     0 defects" in done.stdout


@pytest.fixture
def trial(tmp_path) -> Trial:
    return Trial(Case("planted", 5, 3), tmp_path, tmp_path, Clock())


def crash(argv: Sequence[str]) -> int:
    raise ZeroDivisionError("planted")


def long_line(argv: Sequence[str]) -> int:
    sys.stderr.write("x" * 401 + "\n")
    return 1


def logged_traceback(argv: Sequence[str]) -> int:
    sys.stderr.write("Traceback (most recent call last)\nValueError: planted\n")
    return 1


@pytest.mark.parametrize(
    ("main", "text"),
    [
        (crash, "traceback: ZeroDivisionError: 'planted'"),
        (lambda argv: 7, "exit code 7"),
        (long_line, "a line of 401 characters on stderr"),
        (logged_traceback, "ValueError: planted"),
    ],
)
def test_a_bad_end_of_a_command_is_a_defect(trial: Trial, main: Callable[[Sequence[str]], int], text: str):
    trial.command(main, ["--flag"])
    assert len(trial.result.defects) == 1 and text in trial.result.defects[0]
    assert "'--flag'" in trial.result.defects[0]


def refuse() -> None:
    raise UsageError("no such thing")


def test_a_documented_end_is_no_defect(trial: Trial):
    trial.command(lambda argv: 3, [])
    trial.call("refuses", refuse)
    assert not trial.result.defects
    assert trial.result.outcomes == {"exit 3": 1, "refused": 1}


def test_another_error_of_a_library_function_is_a_defect(trial: Trial):
    trial.call("reads", lambda: [][0])
    assert trial.result.defects[0].startswith("reads: traceback: IndexError")


def test_time_and_memory_beyond_the_limits_are_defects(trial: Trial, monkeypatch):
    monkeypatch.setattr(attack_common, "MAX_BYTES", 100_000_000)
    trial.call("allocates", lambda: len(bytearray(200_000_000)))
    monkeypatch.setattr(attack_common, "MAX_SECONDS", 0.0)
    trial.call("takes long", lambda: sum(range(10_000)))
    assert [d.split(": ")[0] for d in trial.result.defects] == ["allocates", "takes long"]


@pytest.mark.parametrize("name", ["new", "old", "below/new", "run/own"])
def test_a_change_outside_the_run_is_a_defect(trial: Trial, tmp_path, name):
    for folder in ("below", "run"):
        (tmp_path / folder).mkdir()
    (tmp_path / "old").write_text("before")
    with trial.unchanged(tmp_path, but=[tmp_path / "run"]):
        (tmp_path / name).write_text("after")
    assert [d.split("/")[-1].rstrip("'") for d in trial.result.defects] == (
        [] if name == "run/own" else [Path(name).name]
    )


PLANTED = """
import os, sys, time
import attack, attack_workers
from pathlib import Path
from attack_common import Case

def planted(trial):
    trial.did("planted a defect")
    trial.call("step", {1: lambda: time.sleep(60), 2: os.abort, 3: refuse}.get(trial.case.number, int))

def refuse():
    from neuron_signatures.runs.errors import BadRunError
    raise BadRunError("x" * 1000)

attack_workers.MAX_WAIT = 0.2
attack.KINDS["manifests"] = attack.Kind(planted, 5, "")
sys.exit(attack.attack("manifests", [Case("manifests", n, 9) for n in range(5)], Path(sys.argv[1]), processes=2))
"""


def test_a_process_that_hangs_or_dies_is_reported_with_its_seed_and_the_rest_goes_on(tmp_path):
    (tmp_path / "planted.py").write_text(PLANTED)
    done = run_script(tmp_path / "planted.py", tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    for number, what in ((1, "no end after"), (2, "the process ended with -6")):
        assert f"DEFECT manifests case {number} seed 9:manifests:{number}: step: {what}" in done.stdout
        assert f"--only manifests --case {number} --seed 9" in done.stdout
    assert "did planted a defect" in done.stdout
    assert "5 cases     2 defects" in done.stdout and "accepted 2, refused 1" in done.stdout


def test_a_case_is_the_same_every_time():
    record = {"a": [1, 2, {"b": "x"}], "c": {"d": None}}

    def changed(seed: str) -> tuple[object, ...]:
        rng = random.Random(seed)
        return str(mutate(rng, record)), damage(rng, b'{"a": [1, 2]}')

    assert changed(Case("files", 3, 0).seed) == changed(Case("files", 3, 0).seed)
    assert len({changed(Case("files", n, 0).seed) for n in range(20)}) > 15
    assert record == {"a": [1, 2, {"b": "x"}], "c": {"d": None}}


def run_script(*argv: object) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": f"{ROOT}:{SCRIPTS}", "PATH": "/usr/bin:/bin", "HOME": "/missing"}
    return subprocess.run([sys.executable, *map(str, argv)], capture_output=True, text=True, env=env, check=False)
