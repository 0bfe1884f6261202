"""Shards: which items belong to one, whether stored ones make a whole, and their locks."""

from __future__ import annotations

import errno
import fcntl
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_signatures.runs.errors import EnvironmentProblem, RunLockedError, UsageError
from neuron_signatures.runs.lock import holder, run_lock
from neuron_signatures.runs.sharding.files import ShardFiles, ShardState
from neuron_signatures.runs.sharding.locks import refuse_running_shards, running_shards, shard_lock
from neuron_signatures.runs.sharding.shard import Shard, items_of, parse_shard


@given(st.lists(st.integers(0, 1000), max_size=60), st.integers(1, 12))
def test_every_item_is_in_one_shard_in_order(sizes: list[int], of: int) -> None:
    found = [items_of(sizes, Shard(i, of)) for i in range(1, of + 1)]
    assert list(chain(*found)) == list(range(len(sizes)))


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=60), st.integers(1, 12))
def test_a_shard_has_its_share_of_the_work_within_one_item(sizes: list[int], of: int) -> None:
    for i in range(1, of + 1):
        work = sum(sizes[j] for j in items_of(sizes, Shard(i, of)))
        assert abs(work - sum(sizes) / of) <= max(sizes)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1/0", "1", "1/2/3", "-1/2", "1/100000", "٣/٤", " 1/2"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(ValueError, match="is not a part such as 1/4"):
        parse_shard(text)
    assert parse_shard("2/14") == Shard(2, 14) and str(Shard(2, 14)) == "2/14"


def stored(folder: Path, *names: str) -> ShardFiles:
    for name in names:
        (folder / f"pass-{name}.bin").write_bytes(b"")
    return ShardFiles(folder, "pass", ".bin")


def test_other_files_are_no_shards(tmp_path: Path) -> None:
    names = ("00002-of-00002", "00001-of-00002", "1-of-2", "00001-of-00002-x", "x-00001-of-00002")
    files = stored(tmp_path, *names)
    (tmp_path / "pass-00003-of-00003.bin.tmp").write_bytes(b"")
    assert files.stored() == [Shard(1, 2), Shard(2, 2)] and files.name(Shard(1, 2)) == "pass-00001-of-00002.bin"


TWO = ("00001-of-00002", "00002-of-00002")


@pytest.mark.parametrize(
    ("names", "states", "what"),
    [
        ((), (), "holds no shards"),
        (("00001-of-00002", "00001-of-00003"), (), "holds shards of 2 and 3"),
        (("00001-of-00004",), ((0, 2, True),), "shards 2..4 of 4 are missing"),
        (TWO[:1], ((0, 2, False),), "shard 2 of 2 is missing; shard 1 of 2 is unfinished"),
        (TWO, ((0, 2, True), (1, 3, True)), "shards 1/2 and 2/2 overlap"),
        (TWO, ((0, 2, True), (3, 4, True)), "shards 1/2 and 2/2 leave a gap"),
    ],
)
def test_what_is_no_whole(
    tmp_path: Path, names: tuple[str, ...], states: tuple[tuple[int, int, bool], ...], what: str
) -> None:
    files = stored(tmp_path, *names)
    found = {shard: ShardState({}, *state) for shard, state in zip(files.stored(), states, strict=False)}
    with pytest.raises(UsageError, match=what):
        files.complete(lambda shard: found[shard])


def test_shards_of_other_settings_do_not_fit(tmp_path: Path) -> None:
    files = stored(tmp_path, *TWO)
    with pytest.raises(UsageError, match=r"shard 2/2 has other settings than shard 1/2: k was 1, is 2"):
        files.complete(lambda s: ShardState({"k": s.number}, s.number - 1, s.number, finished=True))
    assert files.complete(lambda s: ShardState({}, s.number - 1, s.number, finished=True)) == [Shard(1, 2), Shard(2, 2)]


def test_shards_are_locked_one_by_one(tmp_path: Path) -> None:
    with shard_lock(tmp_path, "pass", Shard(1, 2)), shard_lock(tmp_path, "pass", Shard(2, 2)):
        assert list(running_shards(tmp_path)) == ["pass-00001-of-00002", "pass-00002-of-00002"]
        assert running_shards(tmp_path, "other") == {} and "host" in (holder(tmp_path) or "")
        with pytest.raises(RunLockedError, match="another process computes shard 1/2: host"):
            shard_lock(tmp_path, "pass", Shard(1, 2)).__enter__()
        with pytest.raises(RunLockedError, match="shard pass-00001-of-00002 is being computed: host"):
            refuse_running_shards(tmp_path)
        with run_lock(tmp_path):  # of another result
            pass
    assert running_shards(tmp_path) == {} and holder(tmp_path) is None
    refuse_running_shards(tmp_path)


def test_the_lock_of_a_killed_shard_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".lock-pass-00001-of-00002").write_text("left")
    assert running_shards(tmp_path) == {} and list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(EnvironmentProblem, match="this file system has no file locks"), run_lock(tmp_path):
        pass
