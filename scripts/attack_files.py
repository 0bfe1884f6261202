"""Files and folders of a run that are damaged, crafted or replaced; then readers and writers run on them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from attack_bombs import bombs_for
from attack_common import Trial
from attack_fixtures import INFLUENCE, dump_flags
from attack_manifests import copy_healthy_runs, list_beside_healthy_runs, make_victim
from attack_mutations import damage, mutate, to_bytes
from attack_traps import set_trap

from neuron_signatures import poc1_browse_activations as browse
from neuron_signatures import poc1_dump_activations as poc1
from neuron_signatures import poc2_analyze_run as poc2
from neuron_signatures.runs import __main__ as runs
from neuron_signatures.runs import result_records as records
from neuron_signatures.runs import results, tables
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.options import SCREENS

# Names that a run may hold, and that need not be there.
_OTHER_NAMES = (
    ".lock", ".lock", "dump_journal.jsonl", "dump_journal.jsonl", ".replaced", "analysis", "analysis", "records",
    "manifest.json", ".tmp-1", "activations.safetensors", "activations.pt", "analysis/.tmp-1",
    "analysis/signatures_meta.json", "analysis/analysis_meta.json",
)  # fmt: skip


def attack_file(trial: Trial) -> None:
    """One case: a copy of a run, one or two hostile files in it, then some readers and a writer."""
    rng, root = trial.rng, trial.folder / "root"
    run_dir = _fresh_run(trial, root)
    for _ in range(rng.choice([1, 1, 1, 2])):
        trial.did(make_hostile(rng, run_dir, trial.folder / "victim"))
    with trial.unchanged(trial.folder, but=[run_dir, trial.folder / "out"]):
        with trial.unchanged(run_dir):
            list_beside_healthy_runs(trial, root)
            for reader in rng.sample([_show, _verify, _activations, _results, _browse], 3):
                reader(trial, run_dir)
        for writer in rng.choices([_rank, _influence, _migrate, _dump], weights=[8, 1, 6, 2], k=1):
            writer(trial, run_dir)


def make_hostile(rng: random.Random, run_dir: Path, victim: Path) -> str:
    """Change or replace something in the run; returns what was done."""
    present = sorted(str(p.relative_to(run_dir)) for p in run_dir.rglob("*") if p.is_file() or p.is_dir())
    name = rng.choice([*present, *_OTHER_NAMES])
    path = run_dir / name
    if not _is_own(path, run_dir):  # an earlier trap: this attack does not write through links either
        return f"left {name}"
    if path.is_dir() or rng.random() < 0.35:
        return set_trap(rng, path, victim)
    bombs = bombs_for(name)
    if bombs and rng.random() < 0.6:
        return rng.choice(bombs)(rng, path)
    raw = path.read_bytes() if path.is_file() else b'{"host": "h", "pid": 1, "job": null, "since": "2026"}'
    if name.endswith((".json", ".lock", ".jsonl")) and rng.random() < 0.7:
        raw, what = _mutated_lines(rng, raw)
    else:
        raw, what = damage(rng, raw)
    path.write_bytes(raw)
    return f"{name}: {what}"


def _is_own(path: Path, run_dir: Path) -> bool:
    """Whether the path is a file or folder of the run, or can be made, and no part of it is a link."""
    if not path.parent.is_dir() or any(p.is_symlink() for p in (path, path.parent, run_dir)):
        return False
    return path.is_file() or path.is_dir() or not path.exists()


def _mutated_lines(rng: random.Random, raw: bytes) -> tuple[bytes, str]:
    """One of the JSON values of a file changed; a journal has one in each line."""
    lines = [raw]
    try:
        json.loads(raw)
    except ValueError:
        lines = raw.splitlines(keepends=True) or [b"{}"]
    n = rng.randrange(len(lines))
    try:
        value, what = mutate(rng, json.loads(lines[n]))
        lines[n] = to_bytes(rng, value).replace(b"\n", b" ") + b"\n"
    except (ValueError, RecursionError):
        lines[n], what = damage(rng, lines[n])
    return b"".join(lines), what


def _fresh_run(trial: Trial, root: Path) -> Path:
    if not root.exists():
        copy_healthy_runs(trial.shared, root)
    for old in (root / "run", trial.folder / "out", trial.folder / "victim"):
        if old.is_symlink() or old.is_file():
            old.unlink()
        elif old.exists():
            shutil.rmtree(old)
    make_victim(trial.folder)
    name = trial.rng.choice(["v2", "v2", "v2", "pt", "pt", "v1", "stopped", "stopped", "stopped_rank"])
    trial.did(f"a copy of {name}")
    shutil.copytree(trial.shared / name, root / "run")
    return root / "run"


def _show(trial: Trial, run_dir: Path) -> None:
    trial.command(runs.main, ["show", str(run_dir)], lines=True)


def _verify(trial: Trial, run_dir: Path) -> None:
    trial.command(runs.main, ["verify", str(run_dir)], lines=True)


def _activations(trial: Trial, run_dir: Path) -> None:
    run = trial.call("Run.open", lambda: Run.open(run_dir))
    if run is None:
        return
    with run:
        for n in range(len(run.prompts)):
            trial.call(f"acts {n}", lambda n=n: run.acts(n))
            trial.call(f"acts {n} of one neuron", lambda n=n: run.acts(n, layer=run.layers[0], neuron=0))


def _results(trial: Trial, run_dir: Path) -> None:
    for record, model in (
        ("analysis_meta.json", records.PeaksRecord),
        ("signatures_meta.json", records.SignaturesRecord),
        ("groups.json", records.GroupsRecord),
    ):
        trial.call(record, lambda r=record, m=model: records.read_record(run_dir, r, m))
    for stem in ("neurons_aggregated", "signatures"):
        trial.call(f"table {stem}", lambda s=stem: tables.read_arrow(run_dir, s).num_rows)
    stems: Sequence[str] = trial.call("list_influence", lambda: results.list_influence(run_dir)) or ()
    for stem in stems[:3]:
        meta = results.meta_name(stem)
        trial.call(meta, lambda m=meta: records.read_record(run_dir, m, records.InfluenceRecord))
        trial.call(f"table {stem}", lambda s=stem: tables.read_table(run_dir, s, columns=["layer", "neuron"]))


def _browse(trial: Trial, run_dir: Path) -> None:
    screen = trial.rng.choice(SCREENS)
    which = ["--runs_root", str(run_dir.parent)] if screen == "runs" else ["--run_dir", str(run_dir)]
    query = ["--query", "the"] if screen == "search" else []
    trial.command(browse.main, [*which, "--screen", screen, "--print", trial.rng.choice(["text", "json"]), *query])


def _rank(trial: Trial, run_dir: Path) -> None:
    mode = trial.rng.choice(["peaks", "signatures"])
    trial.command(poc2.main, ["--run_dir", str(run_dir), "--quiet", "--mode", mode])


def _influence(trial: Trial, run_dir: Path) -> None:
    trial.command(poc2.main, ["--run_dir", str(run_dir), *INFLUENCE])


def _migrate(trial: Trial, run_dir: Path) -> None:
    trial.command(runs.main, ["migrate", str(run_dir), "--out_dir", str(trial.folder / "out")])


def _dump(trial: Trial, run_dir: Path) -> None:
    how = "--resume" if (run_dir / "dump_journal.jsonl").is_file() else "--overwrite"
    trial.command(poc1.main, dump_flags(trial.shared, run_dir, how))
    if "exit 0" in trial.result.outcomes and not (run_dir / "dump_journal.jsonl").exists():
        _verify(trial, run_dir)
