"""`--engine ray` on a real Ray with two workers, one of which is killed; and on a Ray that the command starts."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from explain_stage import entries, explain, make_run
from paths import ROOT, TESTS
from record_stage import assert_same_records, extract

from neuron_signatures.cli.output import setup_logging
from neuron_signatures.records.pass1.state import read_header, state_files
from neuron_signatures.runs.sharding.shard import Shard

pytestmark = pytest.mark.ray

STAGE = ("-m", "neuron_signatures.poc4_extract_records")
SLOW = (str(TESTS / "slow_records.py"),)


def flags(run: str, *more: str) -> list[str]:
    return [
        "--out_dir", run, "--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu", "--corpus", "demo",
        "--max_tokens", "12000", "--batch_size", "4", "--top_records", "5", "--sample_windows", "50",
        "--checkpoint_seconds", "0", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    assert extract(*flags(str(path), "--quiet")) == 0
    return path


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Of all processes: a token of their own, and a folder for Ray with a name that is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    yield {
        **ours, "HOME": str(folder), "RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    until(lambda: not processes_of(folder), 60)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def address(environment: dict[str, str]) -> Iterator[str]:
    """A cluster with two workers, and two GPUs as it believes, which does not know where the code is.

    With `--block`, all its processes end with the command.
    """
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0", "--num-cpus=2",
        "--num-gpus=2", "--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=100000000",
    ]  # fmt: skip
    folder = Path(environment["RAY_TMPDIR"])
    start = {**environment, "PYTHONPATH": str(TESTS)}
    with (folder / "start.log").open("w") as log:
        head = subprocess.Popen(command, env=start, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: head.poll() is None and bool(list(folder.rglob("ray_current_cluster"))))
        yield next(folder.rglob("ray_current_cluster")).read_text().strip()
    finally:
        head.terminate()
        head.wait(60)


class Driver:
    """The command in a process of its own, with its messages in a file."""

    def __init__(self, program: tuple[str, ...], folder: Path, environment: dict[str, str], *args: str) -> None:
        self._err = folder / "err"
        with self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, *program, *args], cwd=folder, stdout=subprocess.PIPE, stderr=err, text=True,
                env={**environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}"},
            )  # fmt: skip

    @property
    def err(self) -> str:
        return self._err.read_text()

    def wait(self) -> tuple[int, str]:
        """The exit code and stdout."""
        out, _ = self.process.communicate(timeout=300)
        return self.process.returncode, out


def test_four_shards_on_the_running_cluster(
    whole: Path, address: str, environment: dict[str, str], tmp_path: Path
) -> None:
    args = flags("run", "--engine", "ray", "--ray-address", "auto", "--n_shards=4", "--json")
    driver = Driver(STAGE, tmp_path, {**environment, "RAY_ADDRESS": address}, *args)
    code, out = driver.wait()
    assert code == 0, driver.err
    assert json.loads(out)["records"]["n_shards"] == 4  # the only line
    assert_same_records(whole, tmp_path / "run")
    assert "4 shards on Ray, 2 at a time, each on one CPU" in driver.err
    started = re.findall(r"^\(shard (\d)/4 pid=(\d+)\) starts on .*, process \2$", driver.err, re.M)
    assert sorted(shard for shard, _ in started) == ["1", "2", "3", "4"]
    assert len({pid for _, pid in started}) == 4  # a process ends with its shard, and its GPU memory is free


def test_explanations_in_two_shards(address: str, environment: dict[str, str], tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run")
    program = ("-m", "neuron_signatures.poc5_explain_neurons", "--run_dir", "run", "--quiet")
    driver = Driver(program, tmp_path, {**environment, "RAY_ADDRESS": address}, "--engine", "ray", "--n_shards", "2")
    assert driver.wait()[0] == 0, driver.err
    assert explain(run_dir, "--set", "whole") == 0
    found, whole = entries(run_dir, "lookup"), entries(run_dir, "whole")
    assert [(e.neuron_name, e.text) for e in found] == [(e.neuron_name, e.text) for e in whole] and found


def test_each_shard_has_a_gpu_of_its_own(address: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Ray sets it before torch is imported, which reads it once. The default is one shard per GPU."""
    program = (str(TESTS / "visible_gpu.py"),)
    driver = Driver(program, tmp_path, {**environment, "RAY_ADDRESS": address}, "--gpu")
    assert driver.wait() == (0, ""), driver.err
    found = [json.loads((tmp_path / f"shard-{i}.json").read_text()) for i in (1, 2)]
    assert sorted(f["gpu"] for f in found) == ["0", "1"] and not any(f["torch"] for f in found)
    assert found[1]["argv"] == ["-x", "a b", "--shard", "2/2"] and not driver.err


def test_a_killed_worker_and_a_stopped_command(
    whole: Path, address: str, environment: dict[str, str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    args = flags("run", "--engine", "ray", "--ray_address", address)
    driver = Driver(SLOW, tmp_path, environment, *args)
    until(lambda: 0 < progress(run, Shard(2, 2)) < 1)
    os.kill(last_process(driver.err, 2), signal.SIGKILL)
    until(lambda: len(re.findall(r"^\(shard 2/2 pid=.* starts on", driver.err, re.M)) == 2)
    until(lambda: "going on after" in driver.err)
    driver.process.send_signal(signal.SIGTERM)
    code, out = driver.wait()
    assert code == 75 and not out, driver.err
    assert "A worker died or was killed" in driver.err and "There are 3 retries remaining" in driver.err
    assert "stopped by SIGTERM; finished work is kept. To continue, run the same command again" in driver.err
    assert progress(run, Shard(2, 2)) > 0
    again = Driver(SLOW, tmp_path, environment, *args)
    code, _ = again.wait()
    assert code == 0, again.err
    assert_same_records(whole, run)


def test_a_shard_that_fails_for_good_on_a_ray_of_the_command(
    whole: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    run, elsewhere = tmp_path / "run", Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    setup_logging(quiet=True)
    assert extract(*flags(str(run), "--index_only", "--quiet")) == 0
    broken = run / "records" / state_files(run).name(Shard(2, 2))
    broken.write_text("not a state of a shard")
    args = flags("run", "--engine", "ray", "--n_shards", "2", "--quiet")
    driver = Driver(STAGE, tmp_path, {**environment, "RAY_TMPDIR": str(elsewhere)}, *args)
    code, out = driver.wait()
    assert code == 1 and not out, driver.err
    last = driver.err.splitlines()[-1]
    assert last.startswith("error: 1 of 2 shards failed: 2 (exit code 3). The other shards are kept.")
    assert "not a whole safetensors file" in driver.err and "retries remaining" not in driver.err
    assert progress(run, Shard(1, 2)) == 1
    until(lambda: not processes_of(elsewhere), 60)
    shutil.rmtree(elsewhere)


def until(there: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def progress(run: Path, shard: Shard) -> float:
    """The share of its blocks that a shard has saved."""
    name = state_files(run).name(shard)
    if not (run / "records" / name).exists():
        return 0
    header = read_header(run, name)
    return (header.next - header.first) / (header.stop - header.first)


def last_process(err: str, shard: int) -> int:
    return int(re.findall(rf"^\(shard {shard}/\d+ pid=(\d+)\) starts on", err, re.M)[-1])


def processes_of(folder: Path) -> list[str]:
    """The processes of Ray that use the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"{folder}/" in text:
            found.append(text)
    return found
