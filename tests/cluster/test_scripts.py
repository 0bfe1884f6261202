"""What the Slurm scripts run for which settings, and when they requeue a job: with bash, without Slurm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from neuron_signatures import poc1_dump_activations, poc4_extract_records

pytestmark = pytest.mark.skipif(os.name == "nt" or shutil.which("bash") is None, reason="needs bash")
STAGE_1, STAGE_4 = "poc1_dump_activations", "extract_neuron_records"
HOSTILE = "a b*$(touch evil);\"'`\\ --overwrite\nc"
ARRAY = {
    "SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1",
    "SLURM_ARRAY_TASK_MAX": "4", "SLURM_ARRAY_TASK_COUNT": "4",
}  # fmt: skip


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Stand-ins: `python` writes its arguments to a file, `srun` runs it, `scontrol` writes down how it was called."""
    write(
        tmp_path / "python",
        f"""#!{sys.executable}
import json, os, sys
json.dump(sys.argv[1:], open({str(tmp_path / "arguments")!r}, "w"))
sys.exit(int(os.environ.get("CODE", "0")))
""",
    )
    write(tmp_path / "srun", '#!/bin/sh\nshift\n"$@"\n')
    write(tmp_path / "scontrol", f'#!/bin/sh\necho "$@" >>{tmp_path}/scontrol.log\n')
    return tmp_path


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def start(programs: Path, script: str, **env: str) -> subprocess.CompletedProcess[str]:
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
    path = f"{programs}{os.pathsep}{outside['PATH']}"
    env = {**outside, "PATH": path, "PYTHON": str(programs / "python"), "SLURM_SUBMIT_DIR": str(ROOT), **env}
    command = ["bash", str(ROOT / "scripts" / f"{script}.sbatch")]
    return subprocess.run(command, env=env, cwd=programs, capture_output=True, text=True, check=False)


def arguments(programs: Path, script: str, **env: str) -> list[str]:
    done = start(programs, script, **env)
    assert done.returncode == 0, done.stderr
    return json.loads((programs / "arguments").read_text())[2:]


def requeued(programs: Path, **env: str) -> str:
    """How `scontrol` was called, after a stage that was stopped and can be resumed."""
    assert start(programs, STAGE_4, CODE="75", **env).returncode == 75
    log = programs / "scontrol.log"
    return log.read_text().strip() if log.exists() else ""


def test_variables_become_flags_of_stage_4(programs: Path) -> None:
    assert arguments(programs, STAGE_4, RUN_DIR="runs/a") == ["--run_dir=runs/a", "--resume"]
    args = arguments(
        programs, STAGE_4, OUT_DIR="runs/a b", MODEL_ID="google/gemma-2-2b", MODEL_DTYPE="bf16", DATASET="d",
        DATASET_CONFIG="c", DATASET_REVISION="r", SPLIT="s", TEXT_COLUMN="my text", MAX_TOKENS="5", MAX_SEQUENCES="6",
        SEQUENCE_LENGTH="7", TOP_RECORDS="8", LAYER_INDICES="0 1 2", NEURON_INDICES=" 42\t256 ", OUTPUT_DIR="out",
        EXTRA_FLAGS="--seed 3 --batch_size 4", ALL_LAYERS="0", INDEX_ONLY="0", MERGE="0",
    )  # fmt: skip
    parsed = poc4_extract_records.make_parser().parse_args(args)
    assert str(parsed.out_dir) == "runs/a b" and parsed.model_name == "google/gemma-2-2b" and parsed.dataset == "d"
    assert parsed.text_column == "my text" and parsed.layer_indices == [0, 1, 2] and parsed.neuron_indices == [42, 256]
    assert (parsed.max_tokens, parsed.max_sequences, parsed.sequence_length, parsed.top_records) == (5, 6, 7, 8)
    assert parsed.resume and (parsed.seed, parsed.batch_size) == (3, 4) and parsed.shard is None
    assert "--all_layers" in arguments(programs, STAGE_4, OUT_DIR="runs/a", ALL_LAYERS="1")
    assert "--neurons=L1N2,L3N4" in arguments(programs, STAGE_4, OUT_DIR="runs/a", NEURONS="L1N2,L3N4")


@pytest.mark.parametrize("name", ["OUT_DIR", "CORPUS", "TEXT_COLUMN", "MODEL_ID", "NEURONS"])
def test_no_value_is_split_or_expanded_by_the_shell(programs: Path, name: str) -> None:
    args = arguments(programs, STAGE_4, **{"RUN_DIR": "runs/a", name: HOSTILE})
    assert [a for a in args if a.endswith(HOSTILE)] and len(args) == 3
    assert not list(programs.glob("evil*")) and not (ROOT / "evil").exists()


def test_lists_and_other_flags_are_split_but_not_expanded(programs: Path) -> None:
    args = arguments(programs, STAGE_4, RUN_DIR="r", EXTRA_FLAGS="* $HOME\n$(touch evil)", LAYER_INDICES="*")
    assert args == ["--run_dir=r", "--layer_indices", "*", "--resume", "*", "$HOME", "$(touch", "evil)"]
    assert arguments(programs, STAGE_1, EXTRA_FLAGS="--layers *", OUT_DIR="a b")[-2:] == ["--layers", "*"]


def test_stage_1_gets_flags_that_it_knows(programs: Path) -> None:
    args = arguments(programs, STAGE_1, OUT_DIR="runs/my run", EXTRA_FLAGS="--layers 0-12 --truncate")
    parsed = poc1_dump_activations.make_parser().parse_args(args)
    assert str(parsed.out_dir) == "runs/my run" and parsed.resume and parsed.layers == "0-12"


def test_each_task_of_an_array_is_one_shard(programs: Path) -> None:
    assert arguments(programs, STAGE_4, OUT_DIR="r", **ARRAY)[1:] == ["--shard", "3/4", "--resume"]
    some = {**ARRAY, "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "2"}
    assert arguments(programs, STAGE_4, OUT_DIR="r", N_SHARDS="8", **some)[1:] == ["--shard", "3/8", "--resume"]
    assert arguments(programs, STAGE_4, OUT_DIR="r", N_SHARDS="8", MERGE="1")[1] == "--merge"
    assert arguments(programs, STAGE_4, OUT_DIR="r", N_SHARDS="8", INDEX_ONLY="1")[1] == "--index_only"


@pytest.mark.parametrize(
    ("env", "what"),
    [
        ({**ARRAY, "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "3"}, "the tasks of the array are not 1 to 4"),
        ({**ARRAY, "SLURM_ARRAY_TASK_MAX": "7"}, "submit with --array=1-N, or set N_SHARDS"),
        ({**ARRAY, "MERGE": "1"}, "not for an array"),
        ({**ARRAY, "INDEX_ONLY": "1"}, "not for an array"),
        ({"MERGE": "1", "INDEX_ONLY": "1"}, "give one of them"),
        ({"N_SHARDS": "4"}, "submit with --array=1-4"),
    ],
)
def test_settings_that_do_not_fit_are_refused(programs: Path, env: dict[str, str], what: str) -> None:
    done = start(programs, STAGE_4, OUT_DIR="r", **env)
    assert done.returncode == 2 and what in done.stderr and not (programs / "arguments").exists()


def test_a_job_requeues_itself_if_its_stage_can_be_resumed(programs: Path) -> None:
    assert requeued(programs, OUT_DIR="r", SLURM_JOB_ID="7") == "requeue 7"


def test_a_task_requeues_itself_and_not_its_array(programs: Path) -> None:
    assert requeued(programs, OUT_DIR="r", **ARRAY) == "requeue 9_3"


def test_no_job_is_requeued_for_ever(programs: Path) -> None:
    limits = {"MAX_RESTARTS": "2", "SLURM_RESTART_COUNT": "2"}
    assert requeued(programs, OUT_DIR="r", SLURM_JOB_ID="7", **limits) == ""


def test_a_failed_stage_is_not_requeued(programs: Path) -> None:
    assert start(programs, STAGE_4, OUT_DIR="r", SLURM_JOB_ID="7", CODE="1").returncode == 1
    assert not (programs / "scontrol.log").exists()


def test_without_slurm_the_script_only_runs_the_stage(programs: Path) -> None:
    assert requeued(programs, OUT_DIR="r") == ""
