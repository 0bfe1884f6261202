"""Mutated manifests of both formats, read by every reader of manifests, beside healthy runs in the same folder."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from attack_common import Trial
from attack_mutations import damage, mutate, to_bytes

from neuron_signatures.runs import __main__ as runs
from neuron_signatures.runs.run import Run

_NEIGHBOURS = ("a_healthy", "z_healthy")


def attack_manifest(trial: Trial) -> None:
    """One case: mutate the manifest of a run, then list, open, show, read and verify."""
    rng = trial.rng
    version = rng.choice(["v1", "v2", "v2"])
    root = _root(trial, version)
    raw = _mutated(trial, version)
    _replace_manifest(root / "run" / "manifest.json", raw)
    with trial.unchanged(trial.folder):
        list_beside_healthy_runs(trial, root)
        run = trial.call("Run.open", lambda: Run.open(root / "run"))
        trial.command(runs.main, ["show", str(root / "run")], lines=True)
        if run is None:
            return
        trial.command(runs.main, ["verify", str(root / "run")], lines=True)
        with run:
            for n in range(min(len(run.prompts), 4)):
                trial.call(f"acts {n}", lambda n=n: run.acts(n, layer=run.layers[-1]))


def list_beside_healthy_runs(trial: Trial, root: Path) -> None:
    """List the folder; the runs beside the hostile one must be there, complete."""
    trial.command(runs.main, ["list", str(root)], lines=True)
    text = trial.command(runs.main, ["list", str(root), "--json"])
    try:
        rows = {r["name"]: r["status"] for r in map(json.loads, text.splitlines())}
    except (ValueError, TypeError, KeyError) as e:
        trial.defect(f"list --json: {type(e).__name__}: {e}")
        return
    for name in _NEIGHBOURS:
        if rows.get(name) != "complete":
            trial.defect(f"list: the run {name} is {rows.get(name)}")


def copy_healthy_runs(shared: Path, root: Path) -> None:
    """Two complete runs, one before and one after the name `run`."""
    for name in _NEIGHBOURS:
        (root / name).mkdir(parents=True)
        for file in (shared / "v2").iterdir():
            if file.is_file():
                shutil.copyfile(file, root / name / file.name)


def make_victim(folder: Path) -> Path:
    """A folder beside the runs that nothing may change."""
    victim = folder / "victim"
    (victim / "below").mkdir(parents=True)
    (victim / "secret.json").write_text('{"secret": 1}\n')
    (victim / ".tmp-mine").write_text("mine")
    (victim / "below" / "manifest.json").write_text("{}")
    return victim


def _root(trial: Trial, version: str) -> Path:
    """The folder of runs of this worker: made once, because only manifests change."""
    root = trial.folder / version
    if not root.exists():
        copy_healthy_runs(trial.shared, root)
        if not (trial.folder / "victim").exists():
            make_victim(trial.folder)
        shutil.copytree(trial.shared / version, root / "run", ignore=shutil.ignore_patterns("analysis"))
    return root


def _mutated(trial: Trial, version: str) -> bytes:
    rng = trial.rng
    raw, value = _original(trial.shared / version / "manifest.json")
    if rng.random() < 0.75:
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            value, what = mutate(rng, value)
            trial.did(f"{version}: {what}")
        try:
            raw = to_bytes(rng, value)
        except (ValueError, RecursionError) as e:  # no JSON text, such as an integer of 400 digits
            trial.did(f"not written as JSON ({type(e).__name__})")
            raw = repr(value).encode("utf-8", "backslashreplace")
    if rng.random() < 0.3:
        raw, what = damage(rng, raw)
        trial.did(f"{version}: {what}")
    return raw


@cache
def _original(path: Path) -> tuple[bytes, Any]:
    raw = path.read_bytes()
    return raw, json.loads(raw)


def _replace_manifest(path: Path, raw: bytes) -> None:
    tmp = path.with_name("new")
    tmp.write_bytes(raw)
    tmp.replace(path)
