"""A stopped command of stage 3 keeps what it has measured; the same command again gives the result of one that was not
stopped, bit for bit."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from intervention_cases import OAKLAND
from intervention_runs import argv_of, demo_run, files
from paths import ROOT

from neuron_signatures.cli.progress import Progress
from neuron_signatures.interventions.copies import Copies
from neuron_signatures.interventions.effect import run as effect_module
from neuron_signatures.poc3_intervene import main
from neuron_signatures.runs.errors import ExitCode

EFFECT = ["--neurons", "L3N508,L4N178,L2N9", "--edit", "flip", "--positions", "7,8"]
SWAP = ["--mode", "swap", "--source_text", OAKLAND]
COMMANDS = {"effect": EFFECT, "swap": SWAP}


class Stop(Exception):
    """Stands for a failure of a library."""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return demo_run(tmp_path_factory.mktemp("made"))


def copied(made: Path, folder: Path) -> Path:
    shutil.copytree(made, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def command(made):
    """The flags of a command on a run; the neutral prompts, which are part of the file name, are the same in all."""
    neutral = made.parent / "neutral.json"
    return lambda run_dir, flags: [
        *argv_of(run_dir, "--prompt_id", "seed_prompt", *flags, neutral=neutral), "--batch", "32"
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(made, command, tmp_path_factory):
    """The files of a command that was not stopped, by its name."""

    @functools.cache
    def run(name: str) -> dict[str, object]:
        run_dir = copied(made, tmp_path_factory.mktemp(name))
        assert main(command(run_dir, COMMANDS[name])) == 0
        return content(run_dir)

    return run


def content(run_dir: Path) -> dict[str, object]:
    """The files; of records, everything but their time and what depends on it."""
    found: dict[str, object] = {}
    for name in files(run_dir):
        raw = (run_dir / "interventions" / name).read_bytes()
        found[name] = raw
        if name.endswith(".json"):
            record = found[name] = json.loads(raw)
            for key in ("created_at_utc", "record_sha256", "run", "settings"):
                record.pop(key, None)
            record["files"] = [f["name"] for f in record.get("files", [])]
    return found


SLOW = [("effect", 1), ("effect", 50), ("effect", 320), ("swap", 50), ("swap", 117), ("swap", 250)]


@pytest.mark.parametrize(
    ("name", "after"), [("effect", 117), *(pytest.param(*c, marks=pytest.mark.slow) for c in SLOW)]
)
def test_a_command_that_fails_in_the_middle_goes_on(made, command, whole, tmp_path, monkeypatch, name, after):
    """In the middle of a pass of 32 copies; the steps that the second command skips are those of whole passes."""
    run_dir, flags, left = copied(made, tmp_path), COMMANDS[name], after

    def failing(self: Progress, n: int) -> None:
        nonlocal left
        left -= n
        if left <= 0:
            raise Stop

    with monkeypatch.context() as m:
        m.setattr(Progress, "advance", failing)
        with pytest.raises(Stop):
            main(command(run_dir, flags))
    (partial,) = files(run_dir)
    assert partial.endswith("_partial.npz")
    n_copies = counted(monkeypatch)
    assert main(command(run_dir, flags)) == 0
    assert content(run_dir) == whole(name)
    assert n_copies[0] > 0


def counted(monkeypatch) -> list[int]:
    """Copies that are run from now on."""
    total, run = [0], Copies._pass

    def counting(self, members):
        total[0] += len(members)
        return run(self, members)

    monkeypatch.setattr(Copies, "_pass", counting)
    return total


@pytest.mark.slow
def test_finished_copies_are_not_run_again(made, command, tmp_path, monkeypatch):
    """Stopped before its files are written, the second command measures only what is not kept."""
    run_dir = copied(made, tmp_path)
    n_copies = counted(monkeypatch)
    with monkeypatch.context() as m:
        m.setattr(effect_module, "write_effect", lambda *_: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            main(command(run_dir, EFFECT))
    first, n_copies[0] = n_copies[0], 0
    assert main(command(run_dir, EFFECT)) == 0
    assert n_copies[0] < first / 2
    assert not [f for f in files(run_dir) if "partial" in f]


@pytest.mark.slow
def test_other_settings_do_not_resume(made, command, tmp_path, monkeypatch):
    """Settings that are part of the file name start a result of their own."""
    run_dir = copied(made, tmp_path)
    with monkeypatch.context() as m:
        m.setattr(Progress, "advance", lambda *_: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            main(command(run_dir, EFFECT))
    assert main([*command(run_dir, EFFECT), "--seed", "3"]) == 0
    assert len([f for f in files(run_dir) if "partial" in f]) == 1
    assert len([f for f in files(run_dir) if f.endswith("_meta.json")]) == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_keeps_what_is_done(made, command, whole, tmp_path):
    run_dir = copied(made, tmp_path)
    argv = [a for a in command(run_dir, SWAP) if a != "--quiet"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "neuron_signatures.poc3_intervene", *argv], cwd=ROOT, env=env,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if b"forecast" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read().decode()
    assert process.wait() == ExitCode.RESUMABLE and "Traceback" not in rest, rest
    assert main(command(run_dir, SWAP)) == 0
    assert content(run_dir) == whole("swap")
