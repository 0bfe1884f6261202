"""Result files: names, atomic writes, strict JSON, safe CSV, and errors for missing or damaged files."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_folders import write_run

from neuron_signatures.runs.errors import BadRunError, RunLockedError, UsageError
from neuron_signatures.runs.names import TMP_PREFIX
from neuron_signatures.runs.plain import csv_text, strict
from neuron_signatures.runs.results import (
    influence_stem,
    list_influence,
    list_validations,
    meta_name,
    open_results,
    read_json,
    validation_stem,
    write_scores_name,
)
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import iter_arrow, read_table

HOSTILE: list[str | None] = [
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
    "+1",
    "-1",
    "  =1",
    "\uff1d1",
    "a\nb",
    "\x1b]0;x\x07",
    '"',
    ",",
    " Austin",
    None,
]


def test_names():
    assert influence_stem("probe_1", "dla", "top1_logit", 7, 42) == "influence_probe_1_dla_top1_logit_pos7_tok42"
    stem = influence_stem("p", "act_grad", "next_token", 0, 1, foil_id=9, suffix="ctxall")
    assert stem == "influence_p_act_grad_next_token_pos0_tok1_foil9_ctxall"
    assert validation_stem("p", "all", "next_token", 0, 1) == "validation_p_all_next_token_pos0_tok1"
    assert meta_name(stem) == f"{stem}_meta.json"
    assert write_scores_name(stem) == f"{stem}_write_scores.json"


def test_a_long_name_is_shortened_and_stays_unique():
    parts = ("p" * 128, "dla_pre_ln2_post", "next_token", 10, 1000)
    assert influence_stem(*parts) == f"influence_{'p' * 128}_dla_pre_ln2_post_next_token_pos10_tok1000"
    long = [influence_stem(*parts, suffix=f"prompt-{'q' * 128}{end}") for end in "ab"]
    assert long[0] != long[1] and all(s.startswith("influence_ppp") and len(s) == 200 for s in long)
    # while it is written, its name also has `.tmp-`, the pid and a random part
    assert len(write_scores_name(long[0])) + 30 < 255


def test_parquet_keeps_text_and_csv_escapes_it(tmp_path):
    run = Run.open(write_run(tmp_path / "r"))
    frame = pd.DataFrame(
        {
            "token": HOSTILE,
            "pole": ["+", "-"] * 6,
            "x": [math.nan, *range(11)],
            "n": pd.array([None, *range(11)], "Int64"),
        }
    )
    frame["kind"] = frame["token"].astype("category")
    with open_results(run) as writer:
        writer.table("t", frame, plain=("pole",))
    back = read_table(run.path, "t")
    assert back["token"].tolist()[:-1] == HOSTILE[:-1] and pd.isna(back["token"].iloc[-1])
    assert back["n"].dtype == "Int64"
    raw = (run.path / "analysis" / "t.csv").read_bytes()
    assert not set(raw) & (set(range(32)) - {10}) and raw.count(b"\n") == 13
    rows = list(csv.DictReader(raw.decode().splitlines()))
    assert [r["token"] for r in rows] == [r["kind"] for r in rows]
    assert [r["token"][:1] for r in rows[:6]] == ["'"] * 6
    assert [r["token"] for r in rows[6:]] == ["a\\x0ab", "\\x1b]0;x\\x07", '"', ",", " Austin", ""]
    assert [r["pole"] for r in rows] == ["+", "-"] * 6
    assert (rows[0]["x"], rows[0]["n"]) == ("", "")


def test_a_table_can_be_parquet_only_or_csv_only(tmp_path):
    run = Run.open(write_run(tmp_path / "r"))
    with open_results(run) as writer:
        writer.table("a", pd.DataFrame({"x": [1]}), csv=False)
        writer.table("b", pd.DataFrame({"x": [1]}), parquet=False)
    assert sorted(p.name for p in (run.path / "analysis").iterdir()) == ["a.parquet", "b.csv"]
    assert read_table(run.path, "a", columns=["x"])["x"].tolist() == [1]


def test_csv_text_is_never_a_formula():
    for text in HOSTILE[:6]:
        assert csv_text(text).startswith("'")
    assert csv_text(" Austin") == " Austin"
    assert csv_text("\t=1") == "\\x09=1"


@dataclass
class _Config:
    path: Path
    x: float


def test_strict_json(tmp_path):
    record = {
        "nan": math.nan, "inf": np.float32("inf"), "n": np.int64(3), "b": np.bool_(True), "a": np.array([1.5, np.nan]),
        "config": _Config(Path("a/b"), -math.inf), "t": (1, None), 5: "key", "na": pd.NA, "set": {2, 1},
    }  # fmt: skip
    want = {
        "nan": None, "inf": None, "n": 3, "b": True, "a": [1.5, None], "config": {"path": "a/b", "x": None},
        "t": [1, None], "5": "key", "na": None, "set": [1, 2],
    }  # fmt: skip
    assert strict(record) == want
    run = Run.open(write_run(tmp_path / "r"))
    with open_results(run) as writer:
        writer.json("x.json", record)
    assert read_json(run.path, "x.json") == want
    with pytest.raises(TypeError, match="object has no place"):
        strict(object())


def test_a_lone_surrogate_is_written_as_an_escape(tmp_path):
    run = Run.open(write_run(tmp_path / "r"))
    with open_results(run) as writer:
        writer.json("x.json", {"\ud83d": ["a\ud83d", "\U0001f600"]})
    text = (tmp_path / "r" / "analysis" / "x.json").read_text()
    assert json.loads(text) == {"\\ud83d": ["a\\ud83d", "\U0001f600"]}


def test_surrogates_of_other_programs_are_normalised_and_numbers_out_of_range_refused(tmp_path):
    run = write_run(tmp_path / "run")
    (tmp_path / "run" / "analysis").mkdir()
    path = tmp_path / "run" / "analysis" / "x.json"
    path.write_text('{"a": ["b\\udfff"], "n": -1234567890123456789, "x": 0.00012345678901234567}')
    assert read_json(run, "x.json") == {"a": ["b\\udfff"], "n": -1234567890123456789, "x": 0.00012345678901234567}
    for number in ("1e999", "-1E+999", "12345678901234567890", "0." + "1" * 40):
        path.write_text(f'{{"a": {number}}}')
        with pytest.raises(BadRunError, match="not valid JSON"):
            read_json(run, "x.json")


def test_an_unfinished_result_has_no_record_and_is_refused(tmp_path):
    run = Run.open(write_run(tmp_path / "r"))
    stem = influence_stem("p", "dla", "top1_logit", 3, 5)
    results = {stem: meta_name(stem), "neurons_aggregated": "analysis_meta.json", "signatures": "signatures_meta.json"}
    with open_results(run) as writer:
        for name, record in results.items():
            writer.table(name, pd.DataFrame({"x": [1]}), csv=False)
            with pytest.raises(UsageError, match=f"not finished: there is no {record}"):
                read_table(run.path, name)
            writer.record(record, {})
            assert read_table(run.path, name)["x"].tolist() == [1]
        writer.json(write_scores_name(stem), {})
        writer.begin(meta_name(stem), companions=[write_scores_name(stem)])
    assert list_influence(run.path) == []
    assert not (run.path / "analysis" / write_scores_name(stem)).exists()
    with pytest.raises(UsageError, match="not finished"):
        read_table(run.path, stem)
    with pytest.raises(UsageError, match="not finished"):
        next(iter_arrow(run.path, stem, columns=["x"]))


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    run = Run.open(write_run(tmp_path / "r"))
    with open_results(run) as writer:
        writer.json("x.json", {"old": 1})
        monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            writer.json("x.json", {"new": 1})
        with pytest.raises(KeyboardInterrupt):
            writer.table("t", pd.DataFrame({"x": [1]}))
    assert [p.name for p in (run.path / "analysis").iterdir()] == ["x.json"]
    assert read_json(run.path, "x.json") == {"old": 1}


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    run = Run.open(write_run(tmp_path / "r"))
    code = (
        "import os, sys; from neuron_signatures.runs.results import open_results;"
        "from neuron_signatures.runs.run import Run; import pathlib\n"
        "with open_results(Run.open(sys.argv[1])) as w:\n"
        "    with w.file('figure.png') as tmp:\n"
        "        tmp.write(b'half'); tmp.flush(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=False)
    left = [p.name for p in (run.path / "analysis").iterdir()]
    assert len(left) == 1 and left[0].startswith(TMP_PREFIX)
    with open_results(run) as writer, writer.file("figure.png") as tmp:
        tmp.write(b"whole")
    assert [p.name for p in (run.path / "analysis").iterdir()] == ["figure.png"]


def test_one_writer_at_a_time(tmp_path):
    run = Run.open(write_run(tmp_path / "r"))
    with open_results(run), pytest.raises(RunLockedError), open_results(run):
        pass
    with open_results(run):
        pass


def test_results_outside_the_run_are_refused(tmp_path):
    run = Run.open(write_run(tmp_path / "r"))
    (tmp_path / "elsewhere").mkdir()
    (run.path / "analysis").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadRunError, match="is a link"), open_results(run):
        pass
    with pytest.raises(BadRunError, match="leads out"):
        read_json(run.path, "../../x.json")


def test_missing_and_damaged_results_are_named(tmp_path):
    run = Run.open(write_run(tmp_path / "r"))
    with pytest.raises(UsageError, match=r"neurons_aggregated.parquet: this has not been made yet.*poc2_analyze_run"):
        read_table(run.path, "neurons_aggregated")
    with pytest.raises(UsageError, match="not been made"):
        read_json(run.path, "top_neurons.json")
    assert list_influence(run.path) == list_validations(run.path) == []
    folder = run.path / "analysis"
    folder.mkdir()
    (folder / "t.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadRunError, match="cannot be read as a Parquet table"):
        read_table(run.path, "t")
    for text in ("{", '{"x": NaN}', "[" * 100_000, "\udc80"):
        (folder / "x.json").write_text(text, encoding="utf-8", errors="surrogatepass")
        with pytest.raises(BadRunError, match="not valid JSON"):
            read_json(run.path, "x.json")


def test_a_ranking_without_its_record_is_not_listed(tmp_path):
    run = Run.open(write_run(tmp_path / "r"))
    stems = [influence_stem("p", m, "top1_logit", 3, 5) for m in ("ig", "dla")]
    with open_results(run) as writer:
        writer.json(f"{stems[0]}.json", [])
        writer.json(write_scores_name(stems[0]), [])
        writer.record(meta_name(stems[1]), {})
        writer.record(meta_name(validation_stem("p", "all", "top1_logit", 3, 5)), {})
    assert list_influence(run.path) == [stems[1]]
    assert list_validations(run.path) == ["validation_p_all_top1_logit_pos3_tok5"]


def test_a_record_lists_the_files_of_its_result_with_their_checksums(tmp_path):
    run = Run.open(write_run(tmp_path / "r"))
    stem = influence_stem("p", "dla", "top1_logit", 3, 5)
    with open_results(run) as writer:
        writer.json("earlier.json", {})
        with writer.file(f"{stem}_partial.npz") as f:
            f.write(b"unfinished")
        writer.begin(meta_name(stem))
        writer.table(stem, pd.DataFrame({"x": [1]}))
        writer.json(f"{stem}.json", {"old": 1})
        writer.json(f"{stem}.json", {"new": 2})
        writer.json("dropped.json", {})
        writer.remove("dropped.json")
        with writer.file(f"{stem}.png") as f:
            f.write(b"12345")
            f.seek(2)
        writer.record(meta_name(stem), {"x": 1, "files": "mine", "record_sha256": "0" * 64})
        writer.record("other_meta.json", {})
    record = read_json(run.path, meta_name(stem))
    paths = [writer.folder / f"{stem}.{ending}" for ending in ("parquet", "csv", "json", "png")]
    assert record["files"] == [
        {"name": p.name, "bytes": p.stat().st_size, "sha256": hashlib.sha256(p.read_bytes()).hexdigest()} for p in paths
    ]
    raw = (writer.folder / meta_name(stem)).read_text()
    before, _, last = raw.partition(',\n  "record_sha256": ')
    assert hashlib.sha256(before.encode()).hexdigest() == record["record_sha256"] == last[1:65]
    assert read_json(run.path, "other_meta.json")["files"] == []
