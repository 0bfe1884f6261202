"""Stages that are killed or signalled at random moments, continued, and compared with undisturbed ones."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from attack_common import EXIT_CODES, MAX_LINE, MAX_WAIT, Trial
from attack_fixtures import INFLUENCE, dump_flags

from neuron_signatures import poc1_dump_activations as poc1
from neuron_signatures import poc2_analyze_run as poc2
from neuron_signatures.runs import __main__ as runs
from neuron_signatures.runs.lock import LOCK
from neuron_signatures.runs.names import MANIFEST

_SIGNALS = ("SIGKILL", "SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
_STAGES = {"peaks": (), "signatures": ("--mode", "signatures"), "influence": INFLUENCE}
# Fields that differ between two undisturbed processes, or if this code is edited meanwhile.
_TIMES = {
    "created_at_utc",
    "wall_seconds",
    "seconds",
    "flags_given",
    "out_dir",
    "resume",
    "overwrite",
    "command",
    "git_revision",
    "record_sha256",
}

# Seconds of a stage, and how often it calls these functions, so that most stops come before its end.
_SECONDS = {"dump": 1.0, "overwrite": 1.0, "peaks": 0.25, "signatures": 0.2, "influence": 1.5}
_CALLS = {"replace": (5, 4), "fsync": (15, 9), "open": (10, 5)}

_fork = multiprocessing.get_context("fork")


class Stop(NamedTuple):
    """When and how a process is stopped: after some seconds, or before the nth call of a function of `os`."""

    signal: str
    seconds: float | None
    call: str
    nth: int

    def __str__(self) -> str:
        when = f"after {self.seconds:.2f} s" if self.seconds is not None else f"before {self.call} {self.nth}"
        return f"{self.signal} {when}"


def attack_by_kill(trial: Trial) -> None:
    """One case: stop a stage once or several times, read what is left, finish it, and compare the results."""
    rng = trial.rng
    what = rng.choice(["dump", "dump", "dump", "overwrite", *_STAGES])
    root = trial.folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    run_dir = root / "run"
    if what != "dump":
        old = rng.random() < 0.5  # results of an earlier process lie there already
        shutil.copytree(trial.shared / "v2", run_dir, ignore=None if old else shutil.ignore_patterns("analysis"))
    root.mkdir(exist_ok=True)
    for _ in range(rng.choice([1, 1, 2, 3])):
        stop = _any_stop(trial, what)
        trial.did(f"{what}: {stop}")
        _stopped(trial, what, run_dir, stop)
        _read(trial, root)
    _finish(trial, what, run_dir)
    _compare(trial, what, run_dir)


def _any_stop(trial: Trial, what: str) -> Stop:
    rng, name = trial.rng, trial.rng.choice(_SIGNALS)
    if rng.random() < 0.4:
        return Stop(name, rng.uniform(0, _SECONDS[what]), "", 0)
    call = rng.choice(list(_CALLS))
    return Stop(name, None, call, rng.randint(1, _CALLS[call][what in _STAGES]))


def _stopped(trial: Trial, what: str, run_dir: Path, stop: Stop) -> None:
    code = _run(trial, what, run_dir, stop)
    number = getattr(signal, stop.signal)
    # After some seconds the process may still be starting, or be at its end.
    allowed = {0, -number} if number == signal.SIGKILL else {0, 75} if stop.seconds is None else {0, 75, -number, 130}
    if what == "overwrite" and code == 2:
        allowed.add(2)
    if code not in allowed:
        trial.defect(f"{what}, {stop}: exit code {code}")


def _finish(trial: Trial, what: str, run_dir: Path) -> None:
    code = _run(trial, what, run_dir, None)
    if code:
        trial.defect(f"{what} was not continued: exit code {code}")
    if (run_dir / LOCK).exists():
        trial.defect(f"{what}: the lock is still there")


def _run(trial: Trial, what: str, run_dir: Path, stop: Stop | None) -> int:
    """The exit code of the stage in a process of its own, minus the number of the signal that ended it."""
    if what not in _STAGES:
        again = what == "overwrite" and (run_dir / MANIFEST).exists()
        main, argv = poc1.main, dump_flags(trial.shared, run_dir, "--overwrite" if again else "--resume")
    else:
        main, argv = poc2.main, ["--run_dir", str(run_dir), "--quiet", *_STAGES[what]]
    err = trial.folder / "stderr.txt"
    process = _fork.Process(target=_child, args=(main, argv, err, stop))
    process.start()
    if stop and stop.seconds is not None:
        process.join(stop.seconds)
        if process.exitcode is None and process.pid:
            os.kill(process.pid, getattr(signal, stop.signal))
    process.join(MAX_WAIT)
    if process.exitcode is None:
        process.kill()
        process.join()
        trial.defect(f"{what}, {stop}: no end after {MAX_WAIT:.0f} s")
    code = process.exitcode or 0
    trial.count(f"exit {code}")
    _check_stderr(trial, f"{what}, {stop}", err.read_text(errors="replace"), code)
    return code


def _check_stderr(trial: Trial, label: str, text: str, code: int) -> None:
    if "Traceback (most recent call last)" in text:
        trial.defect(f"{label}: traceback: {text.strip().splitlines()[-1][:200]!a}")
    if max(map(len, text.split("\n"))) > MAX_LINE:
        trial.defect(f"{label}: a line of more than {MAX_LINE} characters")
    if code >= 0 and code not in EXIT_CODES:
        trial.defect(f"{label}: exit code {code}")


def _child(main: Callable[[Sequence[str]], int], argv: Sequence[str], err: Path, stop: Stop | None) -> None:
    fd = os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(fd, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  lives as long as the process
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if stop and stop.seconds is None:
        _signal_before_call(stop)
    sys.exit(main(argv))


def _signal_before_call(stop: Stop) -> None:
    """Send the signal to this process before the nth call, of calls that open a file only those that create one."""
    original, seen = getattr(os, stop.call), 0

    def hook(*args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        if stop.call != "open" or (len(args) > 1 and args[1] & os.O_CREAT):
            seen += 1
            if seen == stop.nth:
                os.kill(os.getpid(), getattr(signal, stop.signal))
                time.sleep(0)  # the handler of this process runs here
        return original(*args, **kwargs)

    setattr(os, stop.call, hook)


def _read(trial: Trial, root: Path) -> None:
    """Readers of a stopped run work or refuse."""
    text = trial.command(runs.main, ["list", str(root), "--json"])
    for row in map(json.loads, text.splitlines()):
        trial.count(f"then {row['status']}")
        if row["status"] not in ("complete", "stopped"):
            trial.defect(f"after the stop the run is listed as {row['status']}: {row['problem']}")
    trial.command(runs.main, ["show", str(root / "run")], lines=True)
    trial.command(runs.main, ["verify", str(root / "run")], lines=True)


def _compare(trial: Trial, what: str, run_dir: Path) -> None:
    """Compare with the files of an undisturbed process."""
    expected = trial.shared / "v2"
    names = {p.name for p in expected.iterdir()} - {"analysis"}
    if what in _STAGES:
        prefix = {"peaks": ("neurons_", "top_", "analysis_"), "signatures": ("signatures", "groups")}
        start = prefix.get(what, ("influence_",))
        names |= {f"analysis/{p.name}" for p in (expected / "analysis").iterdir() if p.name.startswith(start)}
    present = {str(p.relative_to(run_dir)) for p in run_dir.rglob("*") if p.is_file()}
    if missing := names - present:
        trial.defect(f"{what}: missing after it was continued: {sorted(missing)[:3]}")
    strange = {n for n in present - names if ".tmp" in n or "/" not in n or n.endswith("_partial.npz")}
    if strange:
        trial.defect(f"{what}: left behind: {sorted(strange)[:3]}")
    for name in sorted(names & present):
        if _content(run_dir / name) != _content(expected / name):
            trial.defect(f"{what}: {name} differs from that of an undisturbed process")


def _content(path: Path) -> object:
    """The bytes, or of a JSON file the value without times."""
    return _without_times(json.loads(path.read_bytes())) if path.suffix == ".json" else path.read_bytes()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in _TIMES}
    return [_without_times(v) for v in value] if isinstance(value, list) else value
