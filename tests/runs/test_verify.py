"""`verify` checks every result of a run against the record that lists its files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from run_folders import acts_of, write_run, write_v1

from neuron_signatures.poc2_analyze_run import main as analyze
from neuron_signatures.runs import __main__ as commands
from neuron_signatures.runs import verify_results
from neuron_signatures.runs.__main__ import main
from neuron_signatures.runs.errors import MAX_LINE
from neuron_signatures.runs.files import sha256_file
from neuron_signatures.runs.names import STAGE_FOLDERS
from neuron_signatures.runs.result_records import SignaturesRecord, ValidationRecord, another_dump, read_record
from neuron_signatures.runs.results import list_validations, open_results, read_json
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.seal import seal
from neuron_signatures.runs.stage_record import run_identity, stage_record
from neuron_signatures.runs.verify import Verification, verify_run
from neuron_signatures.views.lists.effects import read_effects

SMALL = Path(__file__).parents[1] / "data" / "demo_run"
TARGET = [
    "--mode",
    "influence",
    "--prompt_id",
    "seed_prompt",
    "--target_mode",
    "next_token",
    "--target_token",
    " Austin",
]
INFLUENCE = [
    *TARGET,
    "--influence_metric",
    "dla",
    "--layers",
    "4",
    "--validate",
    "--sample",
    "40",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A run with every kind of result."""
    run_dir = tmp_path_factory.mktemp("made") / "run"
    shutil.copytree(SMALL, run_dir, ignore=shutil.ignore_patterns("analysis"))
    for flags in (
        ["--write_scores", "2", "--top_k", "5"],
        ["--mode", "signatures"],
        [*INFLUENCE, "--write_scores", "2"],
    ):
        assert analyze(["--run_dir", str(run_dir), "--quiet", *flags]) == 0
    return run_dir


@pytest.fixture
def run_dir(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def results_of(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "analysis").iterdir())


def add_record(run_dir: Path, files: Any, *, name: str = "analysis/x_meta.json", **changes: Any) -> Path:
    """Write a record that lists `files`, as a stage would."""
    path = run_dir / name
    path.parent.mkdir(exist_ok=True, parents=True)
    record = {**stage_record(run_identity(Run.open(run_dir)), "test", {}), **changes, "files": files}
    path.write_text(seal(json.dumps(record, indent=2) + "\n"))
    return path


def listed(name: str, raw: bytes) -> dict[str, Any]:
    return {"name": name, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def test_every_file_of_every_result_is_checked(made, capsys):
    files = results_of(made)
    records = [p for p in files if p.name.endswith("_meta.json")]
    assert {p.suffix for p in files} == {".json", ".csv", ".parquet", ".png"} and len(records) == 4
    assert sum(p.name.endswith("_write_scores.json") for p in files) == 2
    assert sum(p.name.endswith("_sample-40_effects.parquet") for p in files) == 1
    found = verify_run(made)
    assert (found.faults, found.remarks) == ([], [])
    assert (found.n_records, found.n_result_files) == (4, len(files) - 4)
    assert main(["verify", str(made)]) == 0
    assert f"sha256; {len(files) - 4} files of 4 results: sizes and sha256" in capsys.readouterr().out
    assert main(["verify", str(made), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["ok"], shown["n_records"], shown["n_result_files"]) == (True, 4, len(files) - 4)


def test_readers_accept_records_with_and_without_files(made):
    for run_dir in (made, SMALL):
        record = read_record(run_dir, "signatures_meta.json", SignaturesRecord)
        assert another_dump(Run.open(run_dir).manifest, record) == ""
    assert "files" in read_json(made, "signatures_meta.json") and "files" not in read_json(
        SMALL, "signatures_meta.json"
    )


def test_readers_accept_the_validation_of_a_sample(made):
    (stem,) = list_validations(made)
    record = read_record(made, f"{stem}.json", ValidationRecord)
    assert (record.sampled, record.n_measured, record.n_pairs) == (True, 40, 512)
    assert record.winner_single is None and record.winner_single_why and record.winner_single_criterion
    (dla,) = record.metrics
    assert dla.spearman_low is not None and dla.spearman_low <= (dla.spearman or 0) <= (dla.spearman_high or 0)
    effects = read_effects(made, stem, ["dla"])
    assert len(effects.effect) == 40 and set(effects.pos.tolist()) == {8} and effects.weight.sum() == 512


def test_a_flipped_byte_in_any_file_is_found(run_dir):
    for path in [run_dir / "activations.safetensors", *results_of(run_dir)]:
        whole = path.read_bytes()
        for at in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            (fault,) = verify_run(run_dir).faults
            assert path.name in fault
        path.write_bytes(whole)
    assert verify_run(run_dir).faults == []


def test_a_flipped_bit_anywhere_in_a_record_is_found(tmp_path):
    run_dir = write_run(tmp_path / "r")
    path = add_record(run_dir, [])
    whole = path.read_bytes()
    for at in [*range(0, len(whole), 5), *range(len(whole) - 90, len(whole))]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        (fault,) = verify_run(run_dir).faults
        assert "x_meta.json" in fault


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def extend(path: Path) -> None:
    os.truncate(path, 1 << 40)


def link(path: Path) -> None:
    """The same bytes, through a link inside the run."""
    target = path.parent.parent / "moved"
    path.rename(target)
    path.symlink_to(target)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE = [
    (cut, "truncated"), (empty, "truncated"), (extend, "extended"), (Path.unlink, "is missing"), (link, "is a link"),
    (device, "is a link"), (pipe, "is a pipe"), (folder, "is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "reason"), DAMAGE)
def test_damage_to_a_file_is_named_with_its_record(made, tmp_path, monkeypatch, damage, reason):
    monkeypatch.chdir(tmp_path)  # with short paths, because long lines are shortened
    names = [p.name for p in results_of(made) if not p.name.endswith("_meta.json")]
    for n, name in enumerate(names):
        shutil.copytree(made, run_dir := Path(str(n)))
        damage(run_dir / "analysis" / name)
        (fault,) = verify_run(run_dir).faults
        assert name in fault and reason in fault and "_meta.json" in fault and "make this result again" in fault


@pytest.mark.parametrize("damage", [cut, empty, extend, link, device, pipe])
def test_damage_to_a_record_is_named(run_dir, capsys, damage):
    damage(run_dir / "analysis" / "analysis_meta.json")
    assert main(["verify", str(run_dir)]) == 3
    out = capsys.readouterr().out
    assert out.count("FAULT") == 1 and "analysis_meta.json" in out.splitlines()[0] and "broken: " in out


def test_a_result_without_its_record_is_a_remark(run_dir):
    (run_dir / "analysis" / "signatures_meta.json").unlink()
    found = verify_run(run_dir)
    assert found.faults == []
    assert found.remarks == ["analysis/: 3 files that no record lists: groups.json; signatures.csv; signatures.parquet"]


def test_a_result_that_is_made_again_with_other_flags_is_whole(run_dir):
    for flags in ([], [*INFLUENCE]):
        assert analyze(["--run_dir", str(run_dir), "--quiet", *flags]) == 0
    assert not any("write_scores" in p.name for p in results_of(run_dir))
    found = verify_run(run_dir)
    assert (found.faults, found.remarks, found.n_records) == ([], [], 4)


def test_results_of_earlier_versions_cannot_be_checked(capsys):
    found = verify_run(SMALL)
    assert (found.faults, found.n_records, found.n_result_files) == ([], 6, 0)
    assert sum("lists no files" in r for r in found.remarks) == 6 and len(found.remarks) == 7
    for flags in ("--mode peaks", "--mode signatures", "--mode influence", "--mode influence --validate"):
        command = f"`python -m neuron_signatures.poc2_analyze_run --run_dir {SMALL} {flags}`"
        assert any(command in r for r in found.remarks)
    assert main(["verify", str(SMALL)]) == 0


def test_a_record_cannot_suggest_a_command(tmp_path):
    run_dir = write_run(tmp_path / "r")
    path = add_record(run_dir, [])
    record = json.loads(path.read_text())
    for key in ("files", "record_sha256"):
        del record[key]
    for change in ({"mode": "peaks; rm -rf ~"}, {"stage": "evil"}, {"mode": "new"}):
        path.write_text(json.dumps({**record, "mode": "peaks", **change}))
        (remark,) = verify_run(run_dir).remarks
        assert remark.endswith("Make it again") and "lists no files" in remark


@pytest.mark.parametrize("folder_name", STAGE_FOLDERS)
def test_results_of_every_stage_are_checked(tmp_path, folder_name):
    run_dir = write_run(tmp_path / "r")
    add_record(
        run_dir, [listed("a.jsonl", b"{}\n"), listed("more/b.npy", b"12")], name=f"{folder_name}/one/a_meta.json"
    )
    (run_dir / folder_name / "one" / "more").mkdir()
    (run_dir / folder_name / "one" / "a.jsonl").write_bytes(b"{}\n")
    (run_dir / folder_name / "one" / "more" / "b.npy").write_bytes(b"12")
    (run_dir / folder_name / "a log.jsonl").write_bytes(b"{}\n{")
    found = verify_run(run_dir)
    assert (found.faults, found.n_result_files) == ([], 2)
    assert found.remarks == [f"{folder_name}/: 1 file that no record lists: a log.jsonl"]
    (run_dir / folder_name / "one" / "more" / "b.npy").write_bytes(b"13")
    (fault,) = verify_run(run_dir).faults
    assert f"{folder_name}/one/more/b.npy: its sha256 differs" in fault and "one/a_meta.json" in fault


def test_nothing_outside_the_run_is_read(tmp_path, monkeypatch):
    run_dir = write_run(tmp_path / "r")
    (tmp_path / "elsewhere").mkdir()
    secret = tmp_path / "elsewhere" / "secret.json"
    secret.write_bytes(b"secret")
    names = [
        "../../elsewhere/secret.json",
        str(secret),
        "sub/secret.json",
        "secret.json",
        "",
        ".",
        "..",
        "\ud800",
        "\0",
    ]
    add_record(run_dir, [listed(name, b"secret") for name in names])
    (run_dir / "analysis" / "sub").symlink_to(tmp_path / "elsewhere")
    (run_dir / "analysis" / "secret.json").symlink_to(secret)
    (run_dir / "records").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(verify_results, "sha256_file", lambda path: pytest.fail(f"{path} was read"))
    faults = verify_run(run_dir).faults
    assert len(faults) == len(names) + 1 and all("is missing" in f or "is a link" in f for f in faults)
    assert any(f"{run_dir / 'records'}: is a link, not a folder" in f for f in faults)


def test_hostile_records_are_refused_in_short_lines(tmp_path, capsys):
    run_dir = write_run(tmp_path / "r")
    good = listed("x.json", b"")
    cases: list[tuple[Any, str]] = [
        (None, "files: field"), ({}, "files: field"), ([{**good, "bytes": -1}], "bytes"), ([{**good, "x": 1}], "0.x"),
        ([{**good, "sha256": "x"}], "sha256"), ([{**good, "bytes": True}], "bytes"), (["x"], "files: field 0"),
        ([{"name": "x\x1b[2J"}] * 20_000, "files: field"), (["x"] * 100_001, "lists 100001 files"),
        ([{**good, "name": "\x1b]0;x\x07" + "x" * 5000}], "is missing"),
        ([{**good, "name": f"{n}"} for n in range(500)], "500 of its files are wrong, 99 are named"),
    ]  # fmt: skip
    for files, reason in cases:
        add_record(run_dir, files)
        assert main(["verify", str(run_dir)]) == 3
        out = capsys.readouterr().out
        assert reason in out and "\x1b" not in out and max(map(len, out.splitlines())) < MAX_LINE + 20
    for text in ("[", "[]", "{}", '{"files": [], "x": ' + "[" * 100 + "]" * 100 + "}", '{"files": []}', '{"x": NaN}'):
        (run_dir / "analysis" / "x_meta.json").write_text(text)
        assert main(["verify", str(run_dir)]) == 3, text
    add_record(run_dir, [], created_at_utc=5)
    assert main(["verify", str(run_dir)]) == 3
    assert "created_at_utc" in capsys.readouterr().out


def test_a_file_that_many_records_list_is_read_once(tmp_path, monkeypatch):
    run_dir = write_run(tmp_path / "r")
    for n in range(5):
        add_record(run_dir, [listed("x.json", b"{}")] * 20, name=f"analysis/{n}_meta.json")
    (run_dir / "analysis" / "x.json").write_bytes(b"{}")
    read: list[Path] = []
    monkeypatch.setattr(verify_results, "sha256_file", lambda path: read.append(path) or sha256_file(path))
    assert verify_run(run_dir).faults == [] and len(read) == 1


class CountedSet(set):
    """A set that counts how often it is copied into a union."""

    unions = 0

    def __or__(self, other):
        CountedSet.unions += 1
        return CountedSet(super().__or__(other))


def test_the_names_that_records_list_are_joined_once_per_folder(tmp_path, monkeypatch):
    run_dir = write_run(tmp_path / "r")
    (run_dir / "analysis").mkdir()
    for n in range(50):
        (run_dir / "analysis" / f"{n}.txt").write_bytes(b"")
    monkeypatch.setattr(verify_results, "set", CountedSet, raising=False)
    (remark,) = verify_run(run_dir).remarks
    assert "50 files that no record lists" in remark and CountedSet.unions == 1


def test_faults_and_remarks_are_shown_up_to_a_limit(tmp_path, capsys, monkeypatch):
    run_dir = write_run(tmp_path / "r")
    for record in ("x", "y"):
        add_record(run_dir, [listed(f"{record}{n}", b"") for n in range(80)], name=f"analysis/{record}_meta.json")
    for n in range(130):
        (run_dir / "analysis" / f".tmp-{n}").write_bytes(b"")
    assert main(["verify", str(run_dir)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("FAULT ") for line in lines) == 101 and lines[100] == "FAULT   and 60 more"
    assert sum(line.startswith("remark ") for line in lines) == 101 and lines[201] == "remark  and 30 more"
    assert len(lines) == 203
    monkeypatch.setattr(commands, "MAX_JSON", 150)
    assert main(["verify", str(run_dir), "--json"]) == 3
    shown = json.loads(capsys.readouterr().out)
    assert (len(shown["faults"]), shown["n_faults"]) == (150, 160)
    assert (len(shown["remarks"]), shown["n_remarks"]) == (130, 130)


@pytest.mark.parametrize("name", ["activations-00002-of-00003.safetensors", "analysis/x1", "analysis/sub", "analysis"])
def test_a_file_or_folder_without_permission_is_a_fault_and_the_rest_is_checked(tmp_path, monkeypatch, capsys, name):
    run_dir = write_run(tmp_path / "r", shard_bytes=1)
    add_record(run_dir, [listed(f"x{n}", b"") for n in range(3)])
    for n in range(2):
        (run_dir / "analysis" / f"x{n}").write_bytes(b"")
    (run_dir / "analysis" / "sub").mkdir()
    (run_dir / "activations-00003-of-00003.safetensors").unlink()
    real_open, real_scandir = os.open, os.scandir

    def refuse(path: Any) -> None:
        if Path(os.fsdecode(path)) == run_dir / name:
            raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "open", lambda path, *a, **k: refuse(path) or real_open(path, *a, **k))
    monkeypatch.setattr(os, "scandir", lambda path: refuse(path) or real_scandir(path))
    assert main(["verify", str(run_dir)]) == 3
    faults = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAULT")]
    refused = next(line for line in faults if "Permission denied" in line)
    assert f"{run_dir / name}: cannot be read (Permission denied)" in refused
    assert any("00003-of-00003.safetensors: the file is missing" in line for line in faults)
    assert name == "analysis" or any("analysis/x2: is missing" in line for line in faults)
    assert len(faults) == (2 if name == "analysis" else 3)


def test_leftovers_and_unfinished_results_are_remarks(run_dir):
    folder = run_dir / "analysis"
    (folder / ".tmp-x_meta.json-1-abc").write_bytes(b"{")
    (folder / "influence_p_partial.npz").write_bytes(b"PK")
    (folder / "notes.txt").write_bytes(b"mine")
    found = verify_run(run_dir)
    assert found.faults == []
    assert [r.partition(":")[0] for r in found.remarks] == [
        "analysis/.tmp-x_meta.json-1-abc", "analysis/influence_p_partial.npz", "analysis/",
    ]  # fmt: skip
    assert "unfinished command" in found.remarks[1] and "notes.txt" in found.remarks[2]


@pytest.mark.skipif(os.name == "nt", reason="Windows file names are text")
def test_hostile_file_names_are_escaped_and_shortened(tmp_path, capsys):
    run_dir = write_run(tmp_path / "r")
    (run_dir / "analysis").mkdir()
    endings = (b".txt", b"_partial.npz", b"_meta.json")
    names = [start + end for start in (b"\xff", b"\x1b[2J", b"a\nb", b".tmp\x9b", b"x" * 240) for end in endings]
    for name in names:
        (Path(os.fsdecode(os.fsencode(run_dir / "analysis") + b"/" + name))).write_bytes(b"{}")
    for flags in ([], ["--json"]):
        assert main(["verify", str(run_dir), *flags]) == 3
        out = capsys.readouterr().out
        assert set(out) - {"\n"} <= set(map(chr, range(32, 127)))
        assert flags or max(map(len, out.splitlines())) < MAX_LINE + 20


def test_results_of_another_dump_are_remarks(run_dir):
    shutil.copytree(run_dir, other := run_dir.with_name("other"))
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["created_at_utc"] = "2020-01-02T03:04:05+00:00"
    (other / "manifest.json").write_text(json.dumps(manifest))
    found = verify_run(other)
    assert found.faults == [] and len(found.remarks) == 4
    assert all("_meta.json: made from another dump" in r for r in found.remarks)


@pytest.mark.parametrize("step", ["record removed", "record written"])
def test_a_result_that_is_being_rewritten_is_no_fault(tmp_path, monkeypatch, step):
    run = Run.open(write_run(tmp_path / "r"))

    def write(n: int, *, whole: bool) -> None:
        with open_results(run) as writer:
            writer.begin("x_meta.json")
            writer.table("x", pd.DataFrame({"x": [n]}))
            if whole:
                writer.record("x_meta.json", stage_record(run_identity(run), "test", {}))

    write(1, whole=True)

    def meanwhile(path: Path) -> str:
        monkeypatch.setattr(verify_results, "sha256_file", sha256_file)
        write(2, whole=step == "record written")
        return sha256_file(path)

    monkeypatch.setattr(verify_results, "sha256_file", meanwhile)
    found = verify_run(run.path)
    assert found.faults == [] and "analysis/x_meta.json: is being rewritten. Verify again" in found.remarks[0]


def test_a_pickle_without_a_checksum_is_checked_by_the_crcs_in_it(tmp_path, capsys):
    run_dir = write_v1(tmp_path / "old")
    before = Run.open(run_dir)
    assert verify_run(run_dir) == Verification(1, before.nbytes(), False, 0, 0, [], [])
    path, stored = run_dir / "activations.pt", before.tensor("third").view(torch.uint8).numpy().tobytes()
    raw = bytearray(path.read_bytes())
    raw[raw.index(stored) + 7] ^= 1
    path.write_bytes(raw)
    assert not torch.equal(Run.open(run_dir).tensor("third"), acts_of()["third"])
    assert main(["verify", str(run_dir)]) == 3
    out = capsys.readouterr().out
    assert out.count("FAULT") == 1 and "activations.pt: the checksum (CRC) of its member" in out


def test_a_pickle_with_a_compressed_member_is_refused(tmp_path):
    run_dir = write_v1(tmp_path / "old")
    with zipfile.ZipFile(run_dir / "activations.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("activations/bomb", b"0" * 10_000_000)
    (fault,) = verify_run(run_dir).faults
    assert "activations.pt: it is compressed" in fault
