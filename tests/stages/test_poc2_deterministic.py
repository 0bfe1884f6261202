"""`--deterministic` in stage 2: equal bits for any number of threads, recorded."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from forked import run
from paths import DEMO_RUN

from neuron_signatures.poc2_analyze_run import main


def _rank(run_dir: Path, threads: int, more: list[str]) -> int:
    torch.set_num_threads(threads)
    shutil.copytree(DEMO_RUN, run_dir, ignore=shutil.ignore_patterns("analysis"))
    return main(["--run_dir", str(run_dir), "--quiet", *more])


def test_influence_has_equal_bits_for_any_number_of_threads(tmp_path):
    flags = ["--mode", "influence", "--influence_metric", "dla,act_grad,relp"]
    for name, threads, more in (("one", 1, ["--deterministic"]), ("two", 2, ["--deterministic"]), ("plain", 2, [])):
        done = run(partial(_rank, tmp_path / name, threads, [*flags, *more]))
        assert done.returncode == 0, done.stderr
    tables = sorted(p.name for p in (tmp_path / "one" / "analysis").glob("*.parquet"))
    assert len(tables) == 3
    for name in tables:
        one, two = ((tmp_path / folder / "analysis" / name).read_bytes() for folder in ("one", "two"))
        assert one == two, name
    recorded = {}
    for name in ("one", "two", "plain"):
        for path in (tmp_path / name / "analysis").glob("*_meta.json"):
            record = json.loads(path.read_text())
            recorded.setdefault(name, set()).add((record["cpu_threads"], record["deterministic"]))
    assert recorded == {"one": {(1, True)}, "two": {(1, True)}, "plain": {(2, False)}}


@pytest.mark.parametrize("mode", ["peaks", "signatures"])
def test_modes_without_a_model_refuse_the_flag(capsys, mode):
    assert main(["--run_dir", str(DEMO_RUN), "--mode", mode, "--deterministic"]) == 2
    assert "--deterministic: has no effect" in capsys.readouterr().err
