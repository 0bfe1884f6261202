"""`scripts/prepare_skill_texts.py` on tiny copies of the data sets, in the files of the Hub."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import prepare_skill_texts
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepare_skill_texts import choose, even_shares
from skill_sets import Labelled


@pytest.fixture
def local(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for kind in ("algebra", "geometry"):
        rows = [{"problem": f"Find x of {kind} {i}.", "level": "Level 1", "type": kind.title(), "solution": "$x$"}
                for i in range(6 if kind == "algebra" else 2)]  # fmt: skip
        write_parquet(root / "math" / kind / "test-00000-of-00001.parquet", rows)
    levels = ("introductory", "interview")
    apps = [{"id": i, "question": f"Write program {i}.", "solutions": "[]", "difficulty": levels[i % 2]}
            for i in range(8)]  # fmt: skip
    write_jsonl(root / "apps" / "train.jsonl", apps)
    talk = [{"conv_id": f"hit:{c}", "utterance_idx": u, "context": ("sad", "joyful")[c % 2],
             "utterance": f"Well_comma_ turn {u} of {c}"} for c in range(6) for u in (1, 2)]  # fmt: skip
    write_parquet(root / "empathetic" / "default" / "train" / "0000.parquet", talk)
    mmlu = [{"question": f"What is law {i}?", "subject": "professional_law", "choices": ["a", "b", "c", "d"]}
            for i in range(5)]  # fmt: skip
    mmlu.append({"question": "No subject", "subject": "", "choices": ["a", "b"]})
    write_parquet(root / "mmlu" / "all" / "test-00000-of-00001.parquet", mmlu)
    return root


def write_parquet(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def prepare(out: Path, *flags: str) -> int:
    return prepare_skill_texts.main(["--out", str(out), "--quiet", *flags])


def lines(out: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_four_sets_become_one_file(local, tmp_path):
    out = tmp_path / "texts.jsonl"
    assert prepare(out, "--local", str(local), "--n", "4") == 0
    found = lines(out)
    assert all(set(row) == {"text", "class", "skill"} for row in found)
    assert Counter((r["class"], r["skill"]) for r in found) == {
        ("empathy", "joyful"): 2, ("empathy", "sad"): 2, ("knowledge", "professional law"): 4,
        ("mathematics", "Algebra"): 2, ("mathematics", "Geometry"): 2, ("programming", "interview"): 2,
        ("programming", "introductory"): 2,
    }  # fmt: skip
    text = {r["class"]: r["text"] for r in found}
    assert text["empathy"].startswith("Well, turn 1 of") and "\nWell, turn 2 of" in text["empathy"]
    assert text["knowledge"].endswith("\nA. a\nB. b\nC. c\nD. d")
    record = json.loads((tmp_path / "texts.jsonl.record.json").read_text())
    assert {s["repo"]: s["licence"] for s in record["sources"]} == {
        "EleutherAI/hendrycks_math": "MIT", "codeparrot/apps": "MIT", "facebook/empathetic_dialogues": "CC BY-NC 4.0",
        "cais/mmlu": "MIT",
    }  # fmt: skip
    assert {s["resolved_revision"] for s in record["sources"]} == {None}
    assert record["texts"]["mathematics"] == {"Algebra": 2, "Geometry": 2}
    assert record["left_out"]["empty, or without a label"] == 1


def test_the_sample_depends_on_the_seed_and_not_on_the_order_of_files(local, tmp_path):
    def sample(name: str, *flags: str) -> list[dict[str, str]]:
        assert prepare(tmp_path / name, "--local", str(local), "--n", "3", *flags) == 0
        return lines(tmp_path / name)

    first = sample("a.jsonl")
    assert first == sample("b.jsonl") != sample("c.jsonl", "--seed", "1")
    rows = (local / "apps" / "train.jsonl").read_text().splitlines()
    (local / "apps" / "train.jsonl").write_text("\n".join(reversed(rows)))
    assert first == sample("d.jsonl")


def test_repeated_texts_and_texts_of_several_classes_are_left_out():
    texts = [Labelled("One  two", "a", "x"), Labelled("one two ", "a", "y"), Labelled("both", "a", "x"),
             Labelled("both", "b", "x"), Labelled("three", "b", "x"), Labelled("l" * 20_001, "b", "x"),
             Labelled("no label", "b", "")]  # fmt: skip
    chosen, left = choose(texts, n=10, seed=0)
    assert chosen == [("One  two", "a", "x"), ("three", "b", "x")]
    assert left == {"repeated": 1, "in several classes": 2, "longer than 20000 characters": 1,
                    "empty, or without a label": 1}  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "n", "shares"),
    [
        ({"a": 10, "b": 10}, 6, {"a": 3, "b": 3}),
        ({"a": 1, "b": 10, "c": 10}, 9, {"a": 1, "b": 4, "c": 4}),
        ({"a": 2, "b": 1}, 9, {"a": 2, "b": 1}),
        ({"a": 5, "b": 5}, 5, {"a": 2, "b": 3}),
        ({}, 5, {}),
    ],
)
def test_skills_have_equal_shares_as_far_as_they_go(sizes, n, shares):
    assert even_shares(sizes, n) == shares


@pytest.mark.parametrize(
    "header", ["text,class,skill", "Problem,Dataset,Type", "question,category,Difficulty", "Utterance,domain,emotion"]
)
def test_labelled_files_with_columns_of_other_tools(tmp_path, header):
    with (tmp_path / "e.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), ["1 + 1, why?", "Math", "algebra"], ["2", "Math", "geometry"]])
    assert prepare(tmp_path / "o.jsonl", "--sets", "none", "--labelled", str(tmp_path / "e.csv")) == 0
    assert lines(tmp_path / "o.jsonl")[0] == {"text": "1 + 1, why?", "class": "Math", "skill": "algebra"}


def test_the_class_of_a_file_can_be_given(tmp_path):
    write_jsonl(tmp_path / "e.jsonl", [{"text": "sums", "skill": "algebra"}])
    item = f"mathematics={tmp_path / 'e.jsonl'}"
    assert prepare(tmp_path / "o.jsonl", "--sets", "none", "--labelled", item) == 0
    assert lines(tmp_path / "o.jsonl")[0]["class"] == "mathematics"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--sets", "poems"), "no set 'poems'"),
        (("--sets", "none"), "nothing to read"),
        (("--local", "{tmp}"), "no folder math"),
        (("--sets", "none", "--labelled", "missing.csv"), "no such file"),
        (("--sets", "none", "--labelled", "{tmp}/bad.csv"), "no column for text"),
        (("--sets", "none", "--labelled", "{tmp}/noclass.csv"), "CLASS=FILE"),
        (("--sets", "math", "--revision", "mmlu=main"), "of a chosen set"),
        (("--sets", "apps", "--local", "{tmp}/wrong"), "row 1 has no difficulty"),
        (("--sets", "mmlu", "--local", "{tmp}/wrong"), "cannot be read"),
        (("--sets", "math", "--local", "{tmp}/wrong"), "has no file of"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, flags, said):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    (tmp_path / "noclass.csv").write_text("text,skill\n1,2\n")
    write_jsonl(tmp_path / "wrong" / "apps" / "train.jsonl", [{"question": "x"}])
    (tmp_path / "wrong" / "math").mkdir()
    (tmp_path / "wrong" / "mmlu").mkdir()
    (tmp_path / "wrong" / "mmlu" / "test.parquet").write_bytes(b"PAR1 no")
    assert prepare(tmp_path / "o.jsonl", *(f.replace("{tmp}", str(tmp_path)) for f in flags)) in (1, 2)
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not (tmp_path / "o.jsonl").exists()


def test_the_hub_is_asked_for_a_revision_and_its_commit_is_recorded(local, tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def snapshot(repo, *, repo_type, revision, allow_patterns):
        asked.append((repo, repo_type, revision))
        commit = tmp_path / "snapshots" / ("c" * 40)
        commit.parent.mkdir()
        (local / "math").rename(commit)
        return str(commit)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert prepare(tmp_path / "o.jsonl", "--sets", "math", "--revision", "math=v1") == 0
    assert asked == [("EleutherAI/hendrycks_math", "dataset", "v1")]
    (source,) = json.loads((tmp_path / "o.jsonl.record.json").read_text())["sources"]
    assert (source["revision"], source["resolved_revision"]) == ("v1", "c" * 40)


def test_no_network_is_one_line(tmp_path, capsys, monkeypatch):
    import huggingface_hub

    def offline(*_args, **_kwargs):
        raise OSError("offline\nmode")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    assert prepare(tmp_path / "o.jsonl", "--sets", "math") == 1
    err = capsys.readouterr().err
    assert "--local" in err and err.count("\n") == 1
