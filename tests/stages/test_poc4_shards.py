"""Stage 4 in parts: any split gives the result of one pass; parts run beside each other, stop, fail and go on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
from forked import Child
from record_stage import arrays, assert_same_records, extract, extract_slowly, flags, write_corpus

from neuron_signatures.records import command as records_command
from neuron_signatures.records.pass1.state import read_header, state_files
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.sharding.locks import shard_lock
from neuron_signatures.runs.sharding.shard import Shard


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "texts.jsonl")


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    assert extract(*flags(corpus, path)) == 0
    return path


@pytest.fixture(scope="module")
def third(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the second of three shards."""
    path = tmp_path_factory.mktemp("third") / "run"
    assert extract(*flags(corpus, path, "--shard", "2/3")) == 0
    return path


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_shards_in_any_order_give_the_same_records(corpus: Path, whole: Path, tmp_path: Path, n: int) -> None:
    run, order = tmp_path / "run", list(range(1, n + 1))
    random.Random(n).shuffle(order)
    for number in order:
        assert extract(*flags(corpus, run, "--shard", f"{number}/{n}")) == 0
    assert extract(*flags(corpus, run, "--merge")) == 0
    assert_same_records(whole, run)
    before = arrays(run)
    assert extract(*flags(corpus, run, "--merge")) == 0  # nothing is left to do
    assert extract(*flags(corpus, run, "--shard", f"1/{n}")) == 0
    assert arrays(run) == before and not list(run.glob(".lock*"))


def test_shards_that_start_together_read_the_corpus_once(corpus: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    started = [
        Child(extract_slowly, [*flags(corpus, run, "--shard", f"{i}/3"), "--checkpoint_seconds", "0"], 0.05)
        for i in (1, 2, 3)
    ]
    done = [child.wait() for child in started]
    assert [d.returncode for d in done] == [0, 0, 0], [d.stderr for d in done]
    assert extract(*flags(corpus, run, "--merge")) == 0
    assert_same_records(whole, run)
    assert not [p.name for p in (run / "records").iterdir() if p.name.startswith(("pass1", ".tmp", "corpus_partial"))]


def test_the_merge_loads_no_weights(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, chosen = tmp_path / "run", ["--sample_size", "1"]  # no neuron fits: no second pass
    for i in (1, 2):
        assert extract(*flags(corpus, run, "--shard", f"{i}/2", *chosen)) == 0

    def load(*_: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(records_command, "load_planned", load)
    assert extract(*flags(corpus, run, "--merge", *chosen)) == 0
    with Records.open(run) as records:
        assert records.meta.n_shards == 2 and records.meta.device_name and records.meta.attn_implementation == "eager"


def test_the_corpus_can_be_read_before(
    corpus: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert extract(*flags(corpus, run, "--index_only")) == 0
    assert "not recorded yet" in capsys.readouterr().out
    for i in (2, 1):
        assert (
            extract("--run_dir", str(run), "--quiet", "--batch_size", "2", "--top_records", "4", "--shard", f"{i}/2")
            == 0
        )
    assert extract("--run_dir", str(run), "--quiet", "--merge", "--top_records", "4") == 0
    assert_same_records(whole, run)
    capsys.readouterr()
    assert extract(*flags(corpus, run, "--index_only")) == 0  # nothing is left to do
    shown = capsys.readouterr().out
    assert "neurons    264 in 3 layers" in shown and "kept whole 264 neurons" in shown


def test_the_corpus_is_read_again_only_to_overwrite_it(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    few = flags(corpus, run, "--max_tokens", "200")
    assert extract(*few, "--index_only") == 0
    capsys.readouterr()
    assert extract(*few, "--shard", "1/2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["shard"] == "1/2"
    before = arrays(run)
    assert extract(*few, "--index_only") == 0  # also beside finished and stopped shards
    assert arrays(run) == before
    assert extract(*flags(corpus, run, "--index_only")) == 2
    assert arrays(run) == before
    assert extract(*flags(corpus, run, "--index_only", "--overwrite")) == 0
    assert arrays(run).keys() < before.keys() and not state_files(run).stored()


def test_missing_and_unfinished_shards_are_named(third: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract(*flags(corpus, third, "--merge")) == 2
    assert "shards 1, 3 of 3 are missing" in capsys.readouterr().err


def test_shards_without_blocks_are_merged(whole: Path, corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for i in range(1, 41):
        assert extract(*flags(corpus, run, "--shard", f"{i}/40")) == 0
    assert extract("--run_dir", str(run), "--quiet", "--merge", "--top_records", "4") == 0
    assert_same_records(whole, run)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (["--shard", "1/2"], "holds shards of a pass that was split into 3"),
        (["--resume"], "holds shards of a pass that was split into 3"),
        (["--shard", "1/3", "--overwrite"], "--overwrite would remove all shards"),
        (["--merge", "--overwrite"], "--overwrite would remove all shards"),
        (["--shard", "1/3", "--index_only"], "give it without --shard and --merge"),
        (["--shard", "1/3", "--max_tokens", "50"], "the run has another corpus"),
    ],
)
def test_commands_that_do_not_fit_the_shards(
    third: Path, corpus: Path, capsys: pytest.CaptureFixture[str], change: list[str], what: str
) -> None:
    before = arrays(third)
    assert extract(*flags(corpus, third, *change)) == 2
    assert what in capsys.readouterr().err and arrays(third) == before


@pytest.mark.parametrize(("flag", "value"), [("--top_records", "5"), ("--batch_size", "3"), ("--layer_index", "0")])
def test_shards_with_other_settings_are_not_merged(
    third: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str
) -> None:
    run = tmp_path / "run"
    for i in (1, 2, 3):
        assert extract(*flags(corpus, run, "--shard", f"{i}/3", *([flag, value] if i == 2 else []))) == 0
    assert extract(*flags(corpus, run, "--merge")) == 2
    err = capsys.readouterr().err
    assert "shard 2/3 has other settings than shard 1/3" in err and not (run / "records" / "records_meta.json").exists()


@pytest.mark.parametrize("whole_split", [True, False])
def test_shards_under_other_names_are_not_merged(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], whole_split: bool
) -> None:
    run, files = tmp_path / "run", state_files(tmp_path / "run")
    for i in (1, 2, 3):
        assert extract(*flags(corpus, run, "--shard", f"{i}/3")) == 0
    first, second, third = (files.folder / files.name(Shard(i, 3)) for i in (1, 2, 3))
    if whole_split:
        shutil.copy(first, second)
        assert extract(*flags(corpus, run, "--shard", "2/3")) == 2  # not finished
        assert "was begun with other settings: blocks was" in capsys.readouterr().err
        what = "shards 1/3 and 2/3 overlap"
    else:  # two of three as a split of two: without a gap, but not the whole corpus
        for i, path in ((1, first), (2, second)):
            path.rename(files.folder / files.name(Shard(i, 2)))
        third.unlink()
        what = "does not hold the documents of shard 1/2. Remove this file and run --shard 1/2 again"
    assert extract(*flags(corpus, run, "--merge")) == 2
    assert what in capsys.readouterr().err and not (run / "records" / "records_meta.json").exists()


def test_a_damaged_shard_can_be_made_again(
    corpus: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    for i in (1, 2):
        assert extract(*flags(corpus, run, "--shard", f"{i}/2")) == 0
    path = run / "records" / state_files(run).name(Shard(2, 2))
    os.truncate(path, 1000)
    for command in (["--merge"], ["--shard", "2/2"]):
        assert extract(*flags(corpus, run, *command)) == 3
        assert "Remove this file and repeat the command that wrote it" in capsys.readouterr().err
    path.unlink()
    for command in (["--shard", "2/2"], ["--merge"]):
        assert extract(*flags(corpus, run, *command)) == 0
    assert_same_records(whole, run)


def test_only_the_merge_exports(corpus: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    export = ["--output_dir", str(out)]
    assert extract(*flags(corpus, run, "--shard", "1/1", *export)) == 0
    assert extract(*flags(corpus, run, "--merge")) == 0
    for command in (["--shard", "1/1"], ["--index_only"]):  # repeated, such as by an engine
        assert extract(*flags(corpus, run, *command, *export)) == 0 and not out.exists()
    assert extract(*flags(corpus, run, "--merge", *export)) == 0
    assert len(list(out.glob("neurons/*/*.json"))) == 264


def test_a_merge_without_shards_makes_nothing(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract(*flags(corpus, tmp_path / "run", "--merge")) == 2
    assert "there is no run" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_shard_has_one_process(third: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_lock(third), shard_lock(third, "pass1", Shard(2, 3)):
        pass
    with shard_lock(third, "pass1", Shard(3, 3)):
        assert extract(*flags(corpus, third, "--shard", "3/3")) == 4
        assert "another process computes shard 3/3: host" in capsys.readouterr().err
        for other in (["--merge"], ["--resume"]):  # whatever changes what shards depend on
            assert extract(*flags(corpus, third, *other)) == 4
            assert "shard pass1-00003-of-00003 is being computed: host" in capsys.readouterr().err


def test_a_shard_waits_for_another_writer(third: Path, corpus: Path) -> None:
    with run_lock(third):
        child = Child(extract, *(f for f in flags(corpus, third, "--shard", "1/3") if f != "--quiet"))
        child.wait_for("waiting: another process is writing to this run")
    assert child.wait().returncode == 0


def test_a_leftover_of_a_running_shard_is_not_swept(third: Path, corpus: Path) -> None:
    leftover = third / "records" / ".tmp-pass1-00003-of-00003.safetensors-1-a"
    leftover.write_bytes(b"")
    with shard_lock(third, "pass1", Shard(3, 3)):
        assert extract(*flags(corpus, third, "--shard", "2/3")) == 0
        assert leftover.exists()
    assert extract(*flags(corpus, third, "--shard", "2/3")) == 0
    assert not leftover.exists()


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
def test_a_stopped_shard_finishes_its_block_and_goes_on(corpus: Path, whole: Path, tmp_path: Path, name: str) -> None:
    run, shard = tmp_path / "run", Shard(2, 2)
    command = flags(corpus, run, "--shard", str(shard), "--checkpoint_seconds", "10000")
    child = Child(extract_slowly, command, 0.1)
    child.wait_for("batch")
    for _ in range(1 + (name == "SIGUSR1")):  # a scheduler may send it twice
        os.kill(child.pid, getattr(signal, name))
    done = child.wait()
    assert done.returncode == 75 and f"stopped by {name}" in done.stderr
    header = read_header(run, state_files(run).name(shard))  # only the signal made this checkpoint
    assert header.first < header.next < header.stop
    assert extract(*flags(corpus, run, "--merge")) == 2
    for i in (1, 2):
        assert extract(*flags(corpus, run, "--shard", f"{i}/2")) == 0
    assert extract(*flags(corpus, run, "--merge")) == 0
    assert_same_records(whole, run)


def test_a_block_that_takes_too_long_is_dropped(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    child = Child(_with_short_stop, flags(corpus, run))
    child.wait_for("batch")
    os.kill(child.pid, signal.SIGTERM)
    done = child.wait(30)
    assert done.returncode == 75 and not state_files(run).stored()


def _with_short_stop(args: list[str]) -> int:
    from neuron_signatures.records.pass1 import run as first

    first._STOP_SECONDS = 0.2
    return extract_slowly(args, 20.0)


@pytest.mark.parametrize("change", [["--shard", "2/4"], ["--engine", "ray", "--n_shards", "4"]])
def test_the_forecast_of_shards(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str]
) -> None:
    run = tmp_path / "run"
    found = []
    for more in ([], change):
        assert extract(*flags(corpus, run, "--dry_run", "--max_tokens", "5000", "--json", *more)) == 0
        found.append(json.loads(capsys.readouterr().out))
    one, four = found
    assert (one["n_shards"], four["n_shards"]) == (1, 4) and not run.exists()
    assert four["seconds"] * four["positions_per_second"] == pytest.approx(5000 / 4)
    tokens = 5 * 5000  # of the corpus, which all share
    assert (four["disk_bytes"] - tokens) == pytest.approx(2.5 * (one["disk_bytes"] - tokens))


@pytest.mark.parametrize("key", ["0.value", "0.window", "1.pos", "1.sums", "0.count", "2.histogram", "2.left_out"])
def test_a_flipped_bit_in_a_shard_is_found(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    run = tmp_path / "run"
    for i in (1, 2):
        assert extract(*flags(corpus, run, "--shard", f"{i}/2")) == 0
    path = run / "records" / state_files(run).name(Shard(2, 2))
    raw = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(raw[:8], "little")
    raw[header + json.loads(raw[8:header])[key]["data_offsets"][0]] ^= 1
    path.write_bytes(raw)
    capsys.readouterr()
    assert extract(*flags(corpus, run, "--merge")) == 3
    err = capsys.readouterr().err
    assert "Remove this file and repeat the command that wrote it" in err and path.name in err
    path.unlink()
    assert extract(*flags(corpus, run, "--shard", "2/2")) == 0
    assert extract(*flags(corpus, run, "--merge")) == 0
