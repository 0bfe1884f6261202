"""Stage 2 in parts: ablations of single neurons that are measured in shards give the files of one process."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from paths import DEMO_RUN

from neuron_signatures.analysis.attribution import ablated as ablated_module
from neuron_signatures.analysis.validation import sets as set_module
from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.sharding.locks import shard_lock
from neuron_signatures.runs.sharding.shard import Shard

TARGET = [
    "--mode", "influence", "--prompt_id", "seed_prompt", "--target_mode", "next_token", "--target_token", " Austin",
]  # fmt: skip
SAMPLE = [*TARGET, "--influence_metric", "dla,act_grad", "--validate", "--sample", "200", "--layers", "1,3"]
COMMANDS = {
    "a sample": SAMPLE,
    "all neurons": [*TARGET, "--influence_metric", "ablation", "--layers", "1,3", "--ctx_idx", "all"],
    "candidates": [*TARGET, "--influence_metric", "dla,ablation", "--top_from", "dla:300"],
    "all neurons, validated": [*TARGET, "--influence_metric", "dla", "--validate", "--sample", "all", "--layers", "3"],
}  # fmt: skip


class Stop(Exception):
    """Stands for a failure of a library."""


def fresh(folder: Path) -> Path:
    """The small committed run without its results."""
    shutil.copytree(DEMO_RUN, folder, ignore=shutil.ignore_patterns("analysis"))
    return folder


def analyze(run_dir: Path, *flags: str) -> int:
    return main(["--run_dir", str(run_dir), *flags, "--quiet"])


def content(run_dir: Path) -> dict[str, object]:
    """The files; of records, everything but their time and the checksums that depend on it."""
    found: dict[str, object] = {p.name: p.read_bytes() for p in sorted((run_dir / "analysis").iterdir())}
    for name in found:
        if name.endswith(".json"):
            record = found[name] = json.loads((run_dir / "analysis" / name).read_text())
            for key in ("created_at_utc", "record_sha256"):
                record.pop(key, None)
            record["files"] = [f["name"] for f in record.get("files", [])]
    return found


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return fresh(tmp_path / "run")


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("flags", COMMANDS.values(), ids=COMMANDS)
def test_shards_in_any_order_give_the_same_files(run_dir: Path, tmp_path: Path, flags: list[str], n: int) -> None:
    whole = fresh(tmp_path / "whole")
    assert analyze(whole, *flags) == 0
    order = list(range(1, n + 1))
    random.Random(n).shuffle(order)
    for number in order:
        assert analyze(run_dir, *flags, "--shard", f"{number}/{n}") == 0
    assert analyze(run_dir, *flags, "--merge") == 0
    assert content(run_dir) == content(whole) and not list(run_dir.glob(".lock*"))
    assert analyze(run_dir, *flags, "--merge") == 2  # they have been joined


def test_a_merge_measures_no_single_neuron(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in (1, 2):
        assert analyze(run_dir, *SAMPLE, "--shard", f"{i}/2") == 0

    def none_left(problem: object, neurons: object, *, values: object, done: object, batch: int) -> list[object]:
        assert done.all()
        return []

    monkeypatch.setattr(ablated_module, "single_ablations", none_left)
    assert analyze(run_dir, *SAMPLE, "--merge") == 0


def test_what_is_missing_or_does_not_fit_is_named(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze(run_dir, *SAMPLE, "--merge") == 2
    assert "holds no shards" in capsys.readouterr().err
    assert analyze(run_dir, *SAMPLE, "--shard", "2/3") == 0
    assert analyze(run_dir, *SAMPLE, "--merge") == 2
    assert "shards 1, 3 of 3 are missing" in capsys.readouterr().err
    assert not [p for p in (run_dir / "analysis").iterdir() if not p.name.endswith("_partial.npz")]
    assert analyze(run_dir, *SAMPLE, "--shard", "1/2") == 2
    assert "split into 3" in capsys.readouterr().err


def test_shards_with_other_settings_are_refused(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze(run_dir, *SAMPLE, "--shard", "1/2", "--ablation_batch", "32") == 0
    assert analyze(run_dir, *SAMPLE, "--shard", "2/2") == 0
    assert analyze(run_dir, *SAMPLE, "--merge") == 2
    assert "batch was 32, is 64" in capsys.readouterr().err


def test_a_copy_of_another_shard_is_measured_again(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = fresh(tmp_path / "whole")
    assert analyze(run_dir, *SAMPLE, "--shard", "1/2") == 0
    (first,) = (run_dir / "analysis").glob("*-00001-of-00002_partial.npz")
    shutil.copy(first, first.with_name(first.name.replace("-00001-", "-00002-")))
    assert analyze(run_dir, *SAMPLE, "--merge") == 2
    assert "shard 2 of 2 is unfinished" in capsys.readouterr().err
    assert analyze(run_dir, *SAMPLE, "--shard", "2/2") == 0
    assert "the stored ablations are of another shard; starting again" in capsys.readouterr().err
    assert analyze(run_dir, *SAMPLE, "--merge") == 0 and analyze(whole, *SAMPLE) == 0
    assert content(run_dir) == content(whole)


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ([*TARGET, "--shard", "1/2"], "only ablations of single neurons are done in shards"),
        ([*TARGET, "--merge"], "only ablations of single neurons are done in shards"),
        ([*SAMPLE, "--merge", "--shard", "1/2"], "give one of them"),
        (["--mode", "peaks", "--shard", "1/2"], "has no effect with --mode peaks"),
        (["--mode", "signatures", "--engine", "ray"], "has no effect with --mode signatures"),
        ([*SAMPLE, "--n_shards", "3"], "--n_shards is for an engine"),
    ],
)
def test_flags_that_do_not_fit(run_dir: Path, capsys: pytest.CaptureFixture[str], flags: list[str], what: str) -> None:
    assert analyze(run_dir, *flags) == 2
    assert what in capsys.readouterr().err


def test_a_stopped_shard_goes_on(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, measured, real = fresh(tmp_path / "whole"), [], ablated_module.single_ablations

    def stopped(*args: object, **kwargs: object) -> object:
        for i, chunk in enumerate(real(*args, **kwargs)):
            if i == 1:
                raise Stop
            yield chunk

    def counted(*args: object, **kwargs: object) -> object:
        for chunk in real(*args, **kwargs):
            measured.append(len(chunk.rows))
            yield chunk

    with monkeypatch.context() as m, pytest.raises(Stop):
        m.setattr(ablated_module, "single_ablations", stopped)
        analyze(run_dir, *SAMPLE, "--shard", "1/1")
    assert analyze(run_dir, *SAMPLE, "--merge") == 2  # unfinished
    with monkeypatch.context() as m:
        m.setattr(ablated_module, "single_ablations", counted)
        assert analyze(run_dir, *SAMPLE, "--shard", "1/1") == 0
    assert sum(measured) == 200 - 64
    assert analyze(run_dir, *SAMPLE, "--merge") == 0 and analyze(whole, *SAMPLE) == 0
    assert content(run_dir) == content(whole)


def test_a_merge_that_stopped_after_its_ablations_goes_on(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags, whole = COMMANDS["all neurons, validated"], fresh(tmp_path / "whole")

    def fail(*_: object, **__: object) -> None:
        raise Stop

    assert analyze(run_dir, *flags, "--shard", "1/1") == 0
    with monkeypatch.context() as m, pytest.raises(Stop):
        m.setattr(set_module, "joint_ablation", fail)
        analyze(run_dir, *flags, "--merge")
    assert analyze(run_dir, *flags, "--merge") == 0 and analyze(whole, *flags) == 0
    assert content(run_dir) == content(whole)


def test_a_shard_has_one_process(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze(run_dir, *SAMPLE, "--shard", "1/2") == 0
    (first,) = (run_dir / "analysis").glob("*-00001-of-00002_partial.npz")
    stem = first.name.removesuffix("-00001-of-00002_partial.npz")
    with run_lock(run_dir), shard_lock(run_dir, stem, Shard(1, 2)):
        pass
    with shard_lock(run_dir, stem, Shard(2, 2)):
        assert analyze(run_dir, *SAMPLE, "--shard", "2/2") == 4
        assert "another process computes shard 2/2" in capsys.readouterr().err
        assert analyze(run_dir, *SAMPLE, "--merge") == 4
        assert "is being computed" in capsys.readouterr().err
        assert analyze(run_dir) == 0  # other results do not depend on it
