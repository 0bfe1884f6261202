"""The Slurm scripts on a real Slurm of one node: stopped, cancelled, preempted and killed jobs, arrays and merges."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT, TESTS
from processes import processes_of, wait_until
from record_stage import assert_same_records
from slurm_node import Slurm, missing_programs, slurm_node

from neuron_signatures.records.pass1.state import Header, read_header, state_files
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.sharding.shard import Shard

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(sys.platform != "linux", reason="a Slurm of Debian"),
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"),
]
STAGE_1, STAGE_4 = "scripts/poc1_dump_activations.sbatch", "scripts/extract_neuron_records.sbatch"
RECORDS = {
    "MODEL_ID": "demo", "MODEL_DTYPE": "fp32", "CORPUS": "demo", "MAX_TOKENS": "8000", "TOP_RECORDS": "10",
    "NEURONS": "L1N3,L2N5", "EXTRA_FLAGS": "--device cpu --batch_size 2 --checkpoint_seconds 0 --sample_windows 50",
    "PYTHON": sys.executable, "OMP_NUM_THREADS": "1",
}  # fmt: skip
# A Python in which stage 4 waits in each batch, so that signals come in the middle.
SLOW_PYTHON = """#!/bin/sh
exec {python} -c 'import sys; from record_stage import extract_slowly; sys.exit(extract_slowly(sys.argv[3:], 0.1))' "$@"
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with slurm_node() as node:
        yield node


@pytest.fixture(scope="module", autouse=True)
def whole_job(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A job that nothing interrupts, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return submit(slurm, folder, **RECORDS, OUT_DIR=str(folder / "run")), folder


@pytest.fixture
def whole(slurm: Slurm, whole_job: tuple[str, Path]) -> Path:
    """Records from one pass in one job."""
    job, folder = whole_job
    assert slurm.wait(job) == ["0:0"], log_of(folder, job)
    return folder / "run"


@pytest.fixture
def slow(tmp_path: Path) -> dict[str, str]:
    """Settings of jobs that extract the same records slowly to `tmp_path / "run"`."""
    python = tmp_path / "python"
    python.write_text(SLOW_PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    return {**RECORDS, "OUT_DIR": str(tmp_path / "run"), "PYTHON": str(python), "PYTHONPATH": f"{ROOT}:{TESTS}"}


def submit(slurm: Slurm, folder: Path, *flags: str, script: str = STAGE_4, **env: str) -> str:
    """Submit from the root of the repository; output goes to `folder`."""
    return slurm.submit(ROOT, f"--output={folder}/%A_%a.log", *flags, script, **env)


def log_of(folder: Path, job: str) -> str:
    """The output of a job, or of one task of an array (`12_3`)."""
    job, _, task = job.partition("_")
    return (folder / f"{job}_{task or 4294967294}.log").read_text()


def begun(folder: Path, shard: Shard) -> bool:
    """Whether a shard is in the middle: it has stored its first blocks."""
    return shard in state_files(folder / "run").stored()


def header_of(folder: Path, shard: Shard) -> Header:
    return read_header(folder / "run", state_files(folder / "run").name(shard))


def is_unfinished(folder: Path, shard: Shard) -> bool:
    header = header_of(folder, shard)
    return header.first < header.next < header.stop


def test_a_stopped_dump_requeues_itself_and_goes_on(slurm: Slurm, tmp_path: Path) -> None:
    texts = [f"the capital of the state containing city number {i} is " + "Austin or " * 10 for i in range(400)]
    (tmp_path / "prompts.json").write_text(json.dumps([{"id": f"p{i}", "text": t} for i, t in enumerate(texts)]))
    settings = {
        "MODEL_NAME": "demo", "MODEL_DTYPE": "fp32", "SAVE_DTYPE": "fp32", "OUT_DIR": str(tmp_path / "run"),
        "PROMPTS_JSON": str(tmp_path / "prompts.json"), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1",
        "EXTRA_FLAGS": "--device cpu --batch_size 1 --shard_size 2MB",
    }  # fmt: skip
    job = submit(slurm, tmp_path, script=STAGE_1, **settings)
    wait_until(lambda: list(tmp_path.glob("run/activations-00002-*")), 60, "two files are written")
    slurm.call("scancel", "--signal=USR1", job)
    assert slurm.wait(job) == ["0:0"], log_of(tmp_path, job)
    log = log_of(tmp_path, job)
    assert slurm.restarts(job) == 1 and "stopped by SIGUSR1" in log and "exit code 75" in log, log
    with Run.open(tmp_path / "run", check="sha256") as run:
        assert len(run.prompts) == 400
    assert slurm.fields(job)["TresPerNode"] == "gres:gpu:1"  # nothing of the script was overridden


def test_an_array_after_an_index_job_and_its_merge(
    slurm: Slurm, slow: dict[str, str], whole: Path, tmp_path: Path
) -> None:
    """Three jobs are submitted at once. One task is stopped in the middle; it makes a checkpoint and requeues itself."""
    index = submit(slurm, tmp_path, "--gres=none", **slow, INDEX_ONLY="1")
    shards = submit(slurm, tmp_path, "--array=1-3", f"--dependency=afterok:{index}", **slow)
    merge = submit(slurm, tmp_path, f"--dependency=afterok:{shards}", **slow, MERGE="1")
    # The last task of an array has the number of the array: requeuing that would requeue all of them.
    wait_until(lambda: begun(tmp_path, Shard(3, 3)), 90, "shard 3 is in the middle")
    running = [slurm.state(f"{shards}_{i}") for i in (1, 2, 3)]
    slurm.call("scancel", "--signal=USR1", "--full", f"{shards}_3")  # to the script too
    wait_until(lambda: "exit code 75" in log_of(tmp_path, f"{shards}_3"), 60, "shard 3 stops")
    assert is_unfinished(tmp_path, Shard(3, 3)) and slurm.state(merge) == "PENDING"
    tasks = [f"{shards}_{i}" for i in (1, 2, 3)]
    assert slurm.wait(index, *tasks, merge) == ["0:0"] * 5, [log_of(tmp_path, job) for job in (*tasks, merge)]
    assert [slurm.restarts(task) for task in tasks] == [0, 0, 1]
    assert running == ["RUNNING"] * 3
    assert_same_records(whole, tmp_path / "run")


def test_a_killed_shard_is_named_and_made_again(
    slurm: Slurm, slow: dict[str, str], whole: Path, tmp_path: Path
) -> None:
    shards = submit(slurm, tmp_path, "--array=1-2", **slow)
    merge = submit(slurm, tmp_path, f"--dependency=afterok:{shards}", "--kill-on-invalid-dep=yes", **slow, MERGE="1")
    wait_until(lambda: begun(tmp_path, Shard(2, 2)), 90, "shard 2 is in the middle")
    killed = processes_of("--shard", "2/2", f"--out_dir={tmp_path}/run")
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    codes = slurm.wait(f"{shards}_1", f"{shards}_2")
    assert codes[0] == "0:0" != codes[1]
    slurm.wait(merge)
    assert slurm.state(merge) == "CANCELLED"
    early = submit(slurm, tmp_path, **slow, MERGE="1")
    assert slurm.wait(early) == ["2:0"]
    assert "shard 2 of 2 is unfinished" in log_of(tmp_path, early)
    again = submit(slurm, tmp_path, "--array=2", **{**slow, "PYTHON": sys.executable}, N_SHARDS="2")
    merge = submit(slurm, tmp_path, f"--dependency=afterok:{again}", **slow, MERGE="1")
    assert slurm.wait(f"{again}_2", merge) == ["0:0", "0:0"], log_of(tmp_path, merge)
    assert_same_records(whole, tmp_path / "run")


def test_a_cancelled_job_stays_cancelled_and_a_preempted_one_goes_on(
    slurm: Slurm, slow: dict[str, str], whole: Path, tmp_path: Path
) -> None:
    job = submit(slurm, tmp_path, **slow)
    wait_until(lambda: begun(tmp_path, Shard(1, 1)), 60, "the pass is in the middle")
    slurm.call("scancel", job)
    slurm.wait(job)
    wait_until(lambda: "not requeued" in log_of(tmp_path, job), 30, "the script ends")
    assert slurm.state(job) == "CANCELLED" and "stopped by SIGTERM" in log_of(tmp_path, job)
    assert is_unfinished(tmp_path, Shard(1, 1))
    done = header_of(tmp_path, Shard(1, 1)).next

    job = submit(slurm, tmp_path, **slow)
    wait_until(lambda: header_of(tmp_path, Shard(1, 1)).next > done, 60, "the second job goes on")
    urgent = slurm.submit(tmp_path, "--partition=urgent", "--cpus-per-task=32", "--output=urgent.log", "--wrap=true")
    assert slurm.wait(urgent, job) == ["0:0", "0:0"], log_of(tmp_path, job)
    assert slurm.restarts(job) == 1 and "stopped by SIGTERM" in log_of(tmp_path, job)
    assert_same_records(whole, tmp_path / "run")


def test_arrays_that_are_not_1_to_n_are_refused(slurm: Slurm, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, "--array=0-2", **RECORDS, OUT_DIR=str(tmp_path / "run"))
    assert slurm.wait(*(f"{job}_{i}" for i in range(3))) == ["2:0"] * 3
    assert "the tasks of the array are not 1 to 3" in log_of(tmp_path, f"{job}_0")
