"""The Slurm scripts on a real Slurm of one node: stopped, cancelled, preempted and killed jobs, arrays and merges."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import TESTS
from processes import kill, processes_of, wait_until
from project_copy import commands_of, copy_project
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
SCRIPT = "scripts/extract_neuron_records.sbatch"
DUMP, EXPORT, INDEX, SHARDS, MERGE, REPEAT = commands_of("remote.md", "Slurm")
# The settings of the page, with small batches and all checkpoints.
RECORDS = {
    **dict(word.split("=", 1) for word in EXPORT.split()[1:]),
    "EXTRA_FLAGS": "--device cpu --batch_size 2 --checkpoint_seconds 0 --sample_windows 50", "OMP_NUM_THREADS": "1",
}  # fmt: skip
# A Python in which stage 4 waits in each batch, so that signals come in the middle.
SLOW_STAGE = "import sys; from record_stage import extract_slowly; sys.exit(extract_slowly(sys.argv[3:], 0.05))"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with slurm_node() as node:
        yield node


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder from which jobs are submitted. They write their output there."""
    return copy_project(tmp_path_factory.mktemp("shared") / "project")


@pytest.fixture(scope="module", autouse=True)
def whole_job(slurm: Slurm, project: Path) -> str:
    """A job that nothing interrupts."""
    return slurm.submit(project, SCRIPT, **{**RECORDS, "OUT_DIR": "runs/whole"})


@pytest.fixture
def whole(slurm: Slurm, project: Path, whole_job: str) -> Path:
    """Records from one pass in one job."""
    assert slurm.wait(whole_job) == ["0:0"], log_of(project, whole_job)
    return project / "runs" / "whole"


@pytest.fixture
def slow(project: Path) -> dict[str, str]:
    """Settings of jobs that extract the same records slowly."""
    python = project / "slow_python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{SLOW_STAGE}' \"$@\"\n")
    python.chmod(0o755)
    return {**RECORDS, "PYTHON": str(python), "PYTHONPATH": f"{project}:{TESTS}"}


def log_of(project: Path, job: str) -> str:
    """The output of a job, or of one task of an array (`12_3`)."""
    return (project / f"slurm-{job}.out").read_text()


def number(shown: str) -> str:
    """The number of the job from what `sbatch` shows."""
    return shown.removeprefix("Submitted batch job ").strip()


def begun(run: Path, shard: Shard) -> bool:
    """Whether a shard is in the middle: it has stored its first blocks."""
    return shard in state_files(run).stored()


def header_of(run: Path, shard: Shard) -> Header:
    return read_header(run, state_files(run).name(shard))


def is_unfinished(run: Path, shard: Shard) -> bool:
    header = header_of(run, shard)
    return header.first < header.next < header.stop


def test_a_stopped_dump_requeues_itself_and_goes_on(slurm: Slurm, project: Path) -> None:
    texts = [f"the capital of the state with city {i} is " + "Austin or " * 10 for i in range(400)]
    (project / "prompts.json").write_text(json.dumps([{"id": f"p{i}", "text": t} for i, t in enumerate(texts)]))
    settings = {
        "PROMPTS_JSON": "prompts.json", "SAVE_DTYPE": "fp32", "OMP_NUM_THREADS": "1",
        "EXTRA_FLAGS": "--device cpu --batch_size 1 --shard_size 2MB",
    }  # fmt: skip
    job, run = number(slurm.type([DUMP], project, **settings)), project / "runs" / "poc1_slurm"
    wait_until(lambda: list(run.glob("activations-00002-*")), 120, "two files are written")
    slurm.call("scancel", "--signal=USR1", job)
    assert slurm.wait(job) == ["0:0"], log_of(project, job)
    log = log_of(project, job)
    assert slurm.restarts(job) == 1 and "stopped by SIGUSR1" in log and "exit code 75" in log, log
    with Run.open(run, check="sha256") as found:
        assert len(found.prompts) == 400
    assert slurm.fields(job)["TresPerNode"] == "gres:gpu:1"  # as the script says


def test_an_array_after_an_index_job_and_its_merge(
    slurm: Slurm, project: Path, slow: dict[str, str], whole: Path
) -> None:
    """The jobs are submitted at once. One task is stopped in the middle; it makes a checkpoint and requeues itself."""
    shown = slurm.type([EXPORT, INDEX, SHARDS, MERGE, "echo $INDEX $SHARDS"], project, **slow)
    merge, (index, shards) = number(shown.splitlines()[0]), shown.splitlines()[1].split()
    run, last = project / RECORDS["OUT_DIR"], Shard(3, 3)
    # The last task of an array has the number of the array: requeuing that would requeue all of them.
    wait_until(lambda: begun(run, last), 120, "shard 3 is in the middle")
    running = [slurm.state(f"{shards}_{i}") for i in (1, 2, 3)]
    slurm.call("scancel", "--signal=USR1", "--full", f"{shards}_3")  # to the script too
    wait_until(lambda: "exit code 75" in log_of(project, f"{shards}_3"), 120, "shard 3 stops")
    assert is_unfinished(run, last) and slurm.state(merge) == "PENDING"
    tasks = [f"{shards}_{i}" for i in (1, 2, 3)]
    assert slurm.wait(index, *tasks, merge) == ["0:0"] * 5, [log_of(project, job) for job in (*tasks, merge)]
    assert [slurm.restarts(task) for task in tasks] == [0, 0, 1]
    assert running == ["RUNNING"] * 3
    assert_same_records(whole, run)


def test_a_killed_shard_is_named_and_made_again(slurm: Slurm, project: Path, slow: dict[str, str], whole: Path) -> None:
    slow, run = {**slow, "OUT_DIR": "runs/killed"}, project / "runs" / "killed"
    shown = slurm.type([SHARDS.replace("--dependency=afterok:$INDEX ", ""), MERGE, "echo $SHARDS"], project, **slow)
    merge, shards = number(shown.splitlines()[0]), shown.splitlines()[1]
    wait_until(lambda: begun(run, Shard(2, 3)), 120, "shard 2 is in the middle")
    killed = processes_of("--shard", "2/3", "--out_dir=runs/killed")
    assert killed
    for pid in killed:
        kill(pid)
    codes = slurm.wait(*(f"{shards}_{i}" for i in (1, 2, 3)))
    assert codes[0] == codes[2] == "0:0" != codes[1]
    slurm.wait(merge)
    assert slurm.state(merge) == "CANCELLED"
    early = slurm.submit(project, SCRIPT, **slow, MERGE="1")
    assert slurm.wait(early) == ["2:0"]
    assert "shard 2 of 3 is unfinished" in log_of(project, early)
    shards = number(slurm.type([REPEAT], project, **slow))
    merge = number(slurm.type([MERGE], project, **slow, SHARDS=shards))
    assert slurm.wait(f"{shards}_2", merge) == ["0:0", "0:0"], log_of(project, merge)
    assert_same_records(whole, run)


def test_a_cancelled_job_stays_cancelled_and_a_preempted_one_goes_on(
    slurm: Slurm, project: Path, slow: dict[str, str], whole: Path
) -> None:
    slow, run, shard = {**slow, "OUT_DIR": "runs/stopped"}, project / "runs" / "stopped", Shard(1, 1)
    job = slurm.submit(project, SCRIPT, **slow)
    wait_until(lambda: begun(run, shard), 120, "the pass is in the middle")
    slurm.call("scancel", job)
    slurm.wait(job)
    wait_until(lambda: "not requeued" in log_of(project, job), 30, "the script ends")
    assert slurm.state(job) == "CANCELLED" and "stopped by SIGTERM" in log_of(project, job)
    assert is_unfinished(run, shard)
    done = header_of(run, shard).next

    job = slurm.submit(project, SCRIPT, **slow)
    wait_until(lambda: header_of(run, shard).next > done, 120, "the second job goes on")
    urgent = slurm.submit(project, "--partition=urgent", "--cpus-per-task=32", "--wrap=true")
    assert slurm.wait(urgent, job) == ["0:0", "0:0"], log_of(project, job)
    assert slurm.restarts(job) == 1 and "stopped by SIGTERM" in log_of(project, job)
    assert_same_records(whole, run)


def test_arrays_that_are_not_1_to_n_are_refused(slurm: Slurm, project: Path) -> None:
    job = slurm.submit(project, "--array=0-2", SCRIPT, **{**RECORDS, "OUT_DIR": "runs/refused"})
    assert slurm.wait(*(f"{job}_{i}" for i in range(3))) == ["2:0"] * 3
    assert "the tasks of the array are not 1 to 3" in log_of(project, f"{job}_0")
